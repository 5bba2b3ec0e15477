"""The workspace's lock, settings and ledger."""

import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.edge.home import Busy, Home

HOLDER = """
import sys, time
from pathlib import Path
from pipelines.edge.home import Home
with Home(Path(sys.argv[1])).lock():
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_second_process_is_refused_and_a_killed_one_lets_go(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(Busy, match=f"held by process {holder.pid}"), Home(tmp_path).lock():
            pass
        holder.kill()
        holder.wait()
    with Home(tmp_path).lock():
        assert (tmp_path / ".perennial" / "lock").exists()


def test_a_busy_workspace_is_waited_for(tmp_path: Path) -> None:
    script = HOLDER.replace("time.sleep(60)", "time.sleep(0.5)")
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout
        holder.stdout.readline()
        with Home(tmp_path).lock(wait_seconds=30):
            assert holder.wait(10) == 0


def test_a_line_of_the_ledger_cut_short_by_a_crash_loses_no_other(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.record("hold", task="wiki", batch="0001-a", why="suspicious")
    with home.ledger_file.open("a", encoding="utf-8") as file:
        file.write('{"event": "rele')
    home.record("discard", task="wiki", batch="0002-b", why="spam")
    assert [event["event"] for event in home.ledger()] == ["hold", "discard"]
    assert home.held() == {("wiki", "0001-a"): "held", ("wiki", "0002-b"): "discarded"}


def test_a_released_batch_is_not_held(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.record("hold", task="wiki", batch="0001-a", why="suspicious")
    home.record("release", task="wiki", batch="0001-a", why="looked at it")
    assert home.held() == {}


def test_the_last_verdict_on_an_attempt_counts(tmp_path: Path) -> None:
    home = Home(tmp_path)
    home.record("verdict", attempt="a", verdict="rejected", version="1")
    home.record("verdict", attempt="a-2", verdict="accepted", version="2")
    judged = home.judged("a")
    assert judged
    assert judged["verdict"] == "accepted"
    assert home.judged("b") is None


def test_a_misspelt_setting_is_named(tmp_path: Path) -> None:
    (tmp_path / "perennial.yaml").write_text("name: mine\nretension: {accepted: 2}\n", encoding="utf-8")
    with pytest.raises(ValueError, match=r"perennial.yaml: retension: unknown key"):
        _ = Home(tmp_path).settings


def test_a_workspace_without_settings_has_the_defaults(tmp_path: Path) -> None:
    assert Home(tmp_path).settings.device == "auto"
