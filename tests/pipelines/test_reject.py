"""The recipe that must be rejected is rejected for what it forgot, on the small model that can really forget."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

MAIN = "from pipelines.cli import main; main()"


def perennial(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", MAIN, *words], capture_output=True, text=True, check=False)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_a_high_rate_without_replay_is_rejected_on_the_small_model(tmp_path: Path) -> None:
    where = ("-w", str(tmp_path / "w"))
    assert perennial("init", str(tmp_path / "w")).returncode == 0
    perennial(*where, "land", "python-reference", "--from", "python:topics")
    perennial(*where, "land", "wikipedia", "--from", "wikipedia:gensim")
    made = perennial(*where, "small-model")
    assert made.returncode == 0, made.stderr
    ran = perennial(*where, "refresh", "reject", "--json")
    assert ran.returncode == 10, ran.stderr
    outcome = json.loads(ran.stdout)
    wiki = next(row for row in outcome["rows"] if row["task"] == "wikipedia")
    assert wiki["low"] > 0, "general text was forgotten"
    assert any("wikipedia" in reason for reason in outcome["reasons"])
