"""Jobs on a Ray cluster give the bytes of a plain loop, even if a node dies in the middle."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from pydoc_data.topics import topics

import psutil
import pytest

from pipelines.edge import ray_engine
from pipelines.edge.attempts import kind_of
from pipelines.edge.ray_engine import Ground, NoCluster
from pipelines.edge.runtime import Map, mapper
from pipelines.edge.settings import Runtime
from steps.core.ranges import ranges
from steps.core.shards import write_lines
from steps.curation import look, sweep
from tests import jobs
from tests.builders import build_corpus, build_document, build_workspace, contents, run_data_stages
from tests.ray_cluster import breaking, two_nodes
from tests.servers import free_port, until

REPOSITORY = Path(__file__).resolve().parents[3]
SOCKETS_OF_RAY = "ignore:.*unclosed <socket:ResourceWarning", "ignore:.*socket:pytest.PytestUnraisableExceptionWarning"


def test_a_worker_that_does_not_see_the_workspace_is_refused(tmp_path: Path) -> None:
    with ray_engine._ground(tmp_path) as ground:
        ray_engine._stand_on(ground)
    with pytest.raises(NoCluster, match=f"does not see the workspace {tmp_path}; mount it on every node"):
        ray_engine._stand_on(ground._replace(file=f"{ground.file}x"))


def test_a_worker_with_another_disk_at_the_same_path_is_refused(tmp_path: Path) -> None:
    with ray_engine._ground(tmp_path) as ground, pytest.raises(NoCluster, match="does not see the workspace"):
        ray_engine._stand_on(ground._replace(content="of another workspace"))


def test_a_worker_with_other_code_is_refused(tmp_path: Path) -> None:
    with ray_engine._ground(tmp_path) as ground, pytest.raises(NoCluster, match="other code or other libraries"):
        ray_engine._stand_on(Ground(ground.file, ground.content, "0" * 64))


def test_nothing_is_left_in_the_workspace(tmp_path: Path) -> None:
    with ray_engine._ground(tmp_path):
        pass
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def _documents(folder: Path) -> Path:
    path = folder / "documents.jsonl"
    write_lines(path, ({"key": str(n), "text": f"{topic} {text}"} for n, (topic, text) in enumerate(topics.items())))
    return path


def _parts(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.slow
@pytest.mark.filterwarnings(*SOCKETS_OF_RAY)
def test_a_node_that_dies_in_the_middle_changes_no_byte(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _documents(tmp_path)

    def work(name: str) -> list[tuple[str, int, int, str]]:
        return [(str(path), begin, end, str(tmp_path / name)) for begin, end in ranges(path, 10_000)]

    plain = [jobs.count_words(job) for job in work("plain")]
    assert len(plain) > 20
    assert list(mapper(Runtime(workers=2), tmp_path)(jobs.count_words, work("local"))) == plain
    with two_nodes() as nodes:
        doomed, caught = tmp_path / "ray.doomed", tmp_path / "ray.caught"
        doomed.write_text(str(nodes.raylet))

        def kill() -> None:
            until(caught.exists, "a job on the second node")
            nodes.kill_second()

        run = breaking(mapper(nodes.settings, tmp_path), 1, kill)
        assert list(run(jobs.count_words_unless_doomed, work("ray"))) == plain
        until(lambda: "node it was running on is dead" in caplog.text, "Ray to tell of it")
        with pytest.raises(ZeroDivisionError) as caught_error:
            list(mapper(nodes.settings, tmp_path)(jobs.divide, [1, 0]))
    assert caught_error.value.__notes__ == ["job 2 of 2, divide(0)"]
    assert _parts(tmp_path / "plain") == _parts(tmp_path / "local") == _parts(tmp_path / "ray")
    assert capsys.readouterr().out == ""


@pytest.mark.slow
@pytest.mark.filterwarnings(*SOCKETS_OF_RAY)
def test_clean_gives_the_same_bytes_when_a_node_dies_in_the_middle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (look, sweep):
        monkeypatch.setattr(module, "RANGE_BYTES", 20_000)

    def cleaned(place: str, run: Map) -> dict[str, bytes]:
        workspace = replace(build_workspace(tmp_path / place), map=run)
        documents = [
            build_document(f"{topic}/{n}", f"{topic}. {text}") for n in (1, 2) for topic, text in topics.items()
        ]
        data = run_data_stages(workspace, {"topics": build_corpus(workspace, documents)})
        return contents(workspace.at(data.kept.path))

    plain = cleaned("plain", map)
    assert cleaned("local", mapper(Runtime(workers=2), tmp_path)) == plain
    with two_nodes() as nodes:
        died: list[int] = []

        def kill() -> None:
            if not died:
                died.append(nodes.raylet)
                nodes.kill_second()

        assert cleaned("ray", breaking(mapper(nodes.settings, tmp_path), 3, kill)) == plain
    assert died


LOCAL = """
import signal, sys
from pathlib import Path
import psutil
from pipelines.edge.runtime import Map, mapper
from pipelines.edge.settings import Runtime
from tests import jobs
from tests.builders import build_corpus, build_document, build_workspace, contents, run_data_stages
handler = signal.getsignal(signal.SIGTERM)
run = mapper(Runtime(engine="ray", workers=2), Path(sys.argv[1]))
assert list(run(jobs.slower_at_first, range(8))) == list(range(8))
assert signal.getsignal(signal.SIGTERM) == handler
me = psutil.Process()
found = [c for process in (me, *me.children(recursive=True)) for c in process.net_connections("inet")]
assert {c.laddr.ip for c in found if c.status == "LISTEN"} <= {"127.0.0.1", "::ffff:127.0.0.1", "::1"}, found
results = run(jobs.wait_unless_first, [(n, sys.argv[2]) for n in (0, 1, 2)])
next(results)
while not list(Path(sys.argv[2]).iterdir()):
    pass
"""


@pytest.mark.slow
def test_a_cluster_that_is_started_here_is_reached_from_here_only_and_ends_with_its_process(tmp_path: Path) -> None:
    folder = tmp_path / "pids"
    folder.mkdir()
    command = [sys.executable, "-c", LOCAL, str(tmp_path), str(folder)]
    ended = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120, check=False)
    assert (ended.returncode, ended.stdout) == (0, ""), ended.stderr
    left = [psutil.Process(int(path.name)) for path in folder.iterdir() if psutil.pid_exists(int(path.name))]
    assert psutil.wait_procs(left, timeout=20)[1] == []


def test_a_cluster_that_is_away_counts_against_no_batch() -> None:
    assert kind_of(NoCluster("runtime.address: nothing answers")) == "environment"


def test_an_address_where_nothing_answers_is_named(tmp_path: Path) -> None:
    settings = Runtime(engine="ray", address=f"127.0.0.1:{free_port()}")
    with pytest.raises(NoCluster, match=r"runtime.address: nothing answers at 127\.0\.0\.1:\d+: .*refused"):
        list(mapper(settings, tmp_path)(jobs.square, [1, 2]))
