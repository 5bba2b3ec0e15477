"""How long from the last arrival to the start of the refresh: files in an inbox, a real server, the tiny model.

Run it with `make bench-trigger`. The quiet period is taken off; the time that a file must hold still is not.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from pipelines.edge.home import Home
from pipelines.service.addresses import use_servers

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
QUIET_SECONDS = 3.0


def starts() -> list[datetime]:
    """When the flow runs began that have, oldest first."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.sorting import FlowRunSort

    with get_client(sync_client=True) as client:
        found = client.read_flow_runs(sort=FlowRunSort.EXPECTED_START_TIME_ASC)
    return [run.start_time for run in found if run.start_time]


def main() -> None:
    """Land, wait for the start, again and again; print the figures."""
    from tests.workspaces import rows, workspace, write_rows

    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--times", type=int, default=8, help="how many arrivals")
    times = options.parse_args().times
    with TemporaryDirectory() as folder:
        home = workspace(Path(folder) / "bench", documents=60)
        settings = {
            "name": "bench",
            "recipe": "tiny",
            "triggers": {"*": {"documents": 1, "quiet": QUIET_SECONDS}},
            "inbox": [{"task": "types", "address": "inbox/types", "settle_seconds": 1.0}],
        }
        (home.root / "perennial.yaml").write_text(yaml.safe_dump(settings), encoding="utf-8")
        words = [sys.executable, "-c", "from pipelines.cli import main; main()", "-w", str(home.root)]
        subprocess.run([*words, "up", "--detach"], check=True, stdout=subprocess.DEVNULL)
        try:
            measured = measure(home, times, rows, write_rows)
        finally:
            subprocess.run([*words, "down"], check=True, stdout=subprocess.DEVNULL)
    figures = {
        "arrivals": times,
        "quiet_seconds": QUIET_SECONDS,
        "seconds_beyond_quiet": {
            "median": round(statistics.median(measured), 2),
            "largest": round(max(measured), 2),
            "smallest": round(min(measured), 2),
        },
        "wanted": "under 10",
    }
    sys.stdout.write(json.dumps(figures, indent=1) + "\n")


def measure(home: Home, times: int, rows: Any, write_rows: Any) -> list[float]:
    """Seconds from each arrival to the start of its run, without the quiet period."""
    use_servers(home)
    wait(lambda: verdicts(home) == 1, "the first refresh")
    found = []
    for number in range(times):
        before = len(starts())
        arrived = datetime.now(UTC)
        write_rows(home.root / f"inbox/types/{number}.jsonl", rows("types", 60 + 5 * number, 5))
        wait(lambda before=before: len(starts()) > before, "the run's start")
        found.append((starts()[-1] - arrived).total_seconds() - QUIET_SECONDS)
        wait(lambda number=number: verdicts(home) == number + 2, "its end")
    return found


def verdicts(home: Home) -> int:
    """How many attempts were judged."""
    return sum(event["event"] == "verdict" for event in home.ledger())


def wait(true: Any, what: str) -> None:
    """Until it is so, at most five minutes."""
    deadline = time.monotonic() + 300
    while not true():
        assert time.monotonic() < deadline, f"no {what} within five minutes"
        time.sleep(0.1)


if __name__ == "__main__":
    main()
