"""Jobs on processes of this machine: the results of a plain loop, few at a time, whatever becomes of a worker."""

import operator
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from pipelines.edge.runtime import AHEAD, Local, mapper
from pipelines.edge.settings import Runtime
from tests import jobs

REPOSITORY = Path(__file__).resolve().parents[3]
WORKERS = 2


def test_results_come_in_the_order_of_the_jobs() -> None:
    assert list(Local(WORKERS).map(jobs.slower_at_first, range(20))) == list(range(20))


def test_jobs_run_in_other_processes_with_one_thread_each() -> None:
    assert os.getpid() not in set(Local(WORKERS).map(jobs.pid_of, range(8)))
    assert list(Local(WORKERS).map(jobs.threads_of, range(2))) == [["1", "1"]] * 2


def test_the_next_map_finds_the_workers_of_the_last() -> None:
    found = [set(Local(WORKERS).map(jobs.pid_of, range(8))) for _ in range(3)]
    assert len(set().union(*found)) <= WORKERS


@pytest.mark.parametrize(("workers", "count"), [(1, 5), (WORKERS, 1), (WORKERS, 0)])
def test_one_worker_or_one_job_needs_no_other_process(workers: int, count: int) -> None:
    assert list(Local(workers).map(jobs.pid_of, range(count))) == [os.getpid()] * count


class Counted(Sequence[int]):
    """Jobs that know how many of them were taken."""

    def __init__(self, count: int) -> None:
        self.count, self.taken = count, 0

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: Any) -> Any:
        self.taken += 1
        return index


def test_few_jobs_are_under_way_at_a_time() -> None:
    many = Counted(1_000)
    results = Local(WORKERS).map(jobs.square, many)
    assert many.taken == 0
    assert [next(results) for _ in range(3)] == [0, 1, 4]
    assert many.taken <= 3 + AHEAD * WORKERS
    results.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("workers", [1, WORKERS])
def test_an_error_in_a_job_is_raised_as_it_is_and_names_the_job(workers: int) -> None:
    results = Local(workers).map(jobs.divide, [1, 2, 0, 4])
    assert [next(results), next(results)] == [1.0, 0.5]
    with pytest.raises(ZeroDivisionError, match="division by zero") as caught:
        next(results)
    assert caught.value.__notes__ == ["job 3 of 4, divide(0)"]


def test_an_error_that_cannot_travel_is_told_of_by_one_that_can() -> None:
    with pytest.raises(RuntimeError, match="Odd: wanted 1, found 7"):
        list(Local(WORKERS).map(jobs.odd, [7, 8]))


def test_a_job_whose_worker_died_runs_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    work = [(number, int(number in {3, 9}), str(tmp_path)) for number in range(12)]
    assert list(Local(WORKERS).map(jobs.die, work)) == list(range(12))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["3-0", "9-0"]
    assert all("SIGKILL" in record.getMessage() for record in caplog.records)


def test_workers_that_died_between_two_maps_are_replaced() -> None:
    idle = [psutil.Process(pid) for pid in set(Local(WORKERS).map(jobs.pid_of, range(8)))]
    for worker in idle:
        worker.kill()
    psutil.wait_procs(idle, timeout=20)
    assert list(Local(WORKERS).map(jobs.square, range(4))) == [0, 1, 4, 9]


def test_a_job_that_kills_its_worker_twice_is_named(tmp_path: Path) -> None:
    results = Local(WORKERS).map(jobs.die, [(number, 2 * (number == 3), str(tmp_path)) for number in range(6)])
    with pytest.raises(RuntimeError, match=r"job 4 of 6, die\(\(3, .*its worker died, and again .*SIGKILL"):
        list(results)


def _gone(folder: Path) -> bool:
    pids = [int(path.name) for path in folder.iterdir() if path.name.isdigit()]
    alive = [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]
    return bool(pids) and not psutil.wait_procs(alive, timeout=20)[1]


def test_a_map_that_is_closed_early_leaves_no_process(tmp_path: Path) -> None:
    results = Local(WORKERS).map(jobs.wait_unless_first, [(number, str(tmp_path)) for number in (0, 0, 1, 2, 3, 4)])
    assert [next(results), next(results)] == [0, 0]
    while not any(tmp_path.iterdir()):
        os.sched_yield()
    results.close()  # type: ignore[attr-defined]
    assert _gone(tmp_path)


ORPHANS = """
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # one that runs in the background ignores it
from pathlib import Path
from pipelines.edge.runtime import Local
from tests import jobs
folder = sys.argv[1]
results = Local(2).map(jobs.wait_unless_first, [(n, folder) for n in (0, 1, 2)])
next(results)
while len(list(Path(folder).iterdir())) < 2:
    os.sched_yield()
os.kill(os.getpid(), getattr(signal, sys.argv[2]))
next(results)
"""


@pytest.mark.parametrize("how", ["SIGKILL", "SIGTERM", "SIGINT"])
def test_workers_do_not_outlive_a_process_that_is_ended(tmp_path: Path, how: str) -> None:
    command = [sys.executable, "-c", ORPHANS, str(tmp_path), how]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode != 0
    assert _gone(tmp_path), ended.stderr


def test_settings_choose_the_engine(tmp_path: Path) -> None:
    assert list(mapper(Runtime(workers=1), tmp_path)(operator.neg, [1, 2])) == [-1, -2]
