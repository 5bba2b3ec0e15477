import json
from dataclasses import replace
from pathlib import Path

import pytest

from steps.core.artifacts import Model
from steps.core.shards import read_lines
from steps.core.workspace import Workspace
from steps.judging.asking import ask_all
from steps.methods.suite.canaries import Canaries
from steps.methods.suite.instructions import Instructions
from tests.steps.methods.suite.examinees import Parrot, write_rows
from tests.tiny_models import tiny_workspace

MODEL = Model(digest="model", path="nowhere", num_parameters=1)
ROWS = [{"id": f"q{k:02}", "prompt": f"say {k}", "wanted": str(k)} for k in range(20)]
HALF = {f"say {k}": str(k) for k in range(0, 20, 2)}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    write_rows(tmp_path / "canaries.jsonl", ROWS)
    return replace(tiny_workspace(tmp_path, "evaluate/model"), code="code")


SUITE = Canaries(file="canaries.jsonl")


def test_every_question_has_a_row_and_the_score_is_their_mean(workspace: Workspace) -> None:
    found = ask_all(workspace, [SUITE], MODEL, Parrot(HALF))
    rows = list(read_lines(workspace.path / "suites.jsonl"))
    assert found["canaries"].model_dump() == {"metric": "accuracy", "score": 0.5, "num_items": 20}
    assert [(row["id"], row["score"]) for row in rows] == [(f"q{k:02}", float(k % 2 == 0)) for k in range(20)]
    assert {row["document"] for row in rows} == {f"q{k:02}" for k in range(20)}


def test_what_was_answered_is_not_asked_again(workspace: Workspace) -> None:
    first = ask_all(workspace, [SUITE], MODEL, Parrot(HALF))
    again = Parrot({})
    assert ask_all(workspace, [SUITE], MODEL, again) == first
    assert again.asked == []


def test_after_a_kill_at_most_one_batch_is_asked_again(workspace: Workspace) -> None:
    whole = Parrot(HALF)
    first = ask_all(workspace, [SUITE], MODEL, whole)
    cache = workspace.path / "answers.jsonl"
    cache.write_bytes(cache.read_bytes()[:-30])  # 20 questions: a batch of 16, and one of 4 that is torn
    again = Parrot(HALF)
    assert ask_all(workspace, [SUITE], MODEL, again) == first
    assert again.asked == whole.asked[16:]


@pytest.mark.parametrize("change", ["code", "model", "precision", "knob"])
def test_what_another_source_answered_does_not_count(workspace: Workspace, change: str) -> None:
    ask_all(workspace, [SUITE], MODEL, Parrot(HALF))
    other = Parrot({})
    other.precision = "bfloat16" if change == "precision" else "float32"
    found = ask_all(
        replace(workspace, code="other") if change == "code" else workspace,
        [SUITE.model_copy(update={"answer_tokens": 9}) if change == "knob" else SUITE],
        MODEL.model_copy(update={"digest": "other"}) if change == "model" else MODEL,
        other,
    )
    assert found["canaries"].score == 0.0


def test_a_higher_limit_asks_only_the_questions_that_join(workspace: Workspace) -> None:
    ask_all(workspace, [SUITE.model_copy(update={"limit": 5})], MODEL, Parrot(HALF))
    more = Parrot(HALF)
    assert ask_all(workspace, [SUITE.model_copy(update={"limit": 8})], MODEL, more)["canaries"].num_items == 8
    assert len(more.asked) == 3


def test_the_cache_lets_go_of_what_nobody_asks_for(workspace: Workspace) -> None:
    for code in range(6):
        ask_all(replace(workspace, code=str(code)), [SUITE], MODEL, Parrot(HALF))
    kept = list(read_lines(workspace.path / "answers.jsonl"))
    assert sum(len(line["answered"]) for line in kept) <= 60


def test_answers_are_masked_wherever_they_are_written(workspace: Workspace) -> None:
    ask_all(workspace, [SUITE], MODEL, Parrot({"say 3": "3, or ask jane.doe@example.org"}))
    written = (workspace.path / "suites.jsonl").read_text() + (workspace.path / "answers.jsonl").read_text()
    assert "jane.doe" not in written
    assert "[email]" in written


def test_without_suites_there_is_no_file(workspace: Workspace) -> None:
    ask_all(workspace, [SUITE], MODEL, Parrot(HALF))
    assert ask_all(workspace, [], MODEL, Parrot({})) == {}
    assert not (workspace.path / "suites.jsonl").exists()


def test_a_model_without_a_chat_template_is_not_asked_to_follow_instructions(workspace: Workspace) -> None:
    assert ask_all(workspace, [Instructions()], MODEL, Parrot({}, chat=False)) == {}


@pytest.mark.parametrize("junk", [b"\xff\xfe\x00", b'{"source": 1}\n', b"[]\n", b"\n\n"])
def test_junk_in_the_cache_counts_as_never_written(workspace: Workspace, junk: bytes) -> None:
    (workspace.path / "answers.jsonl").write_bytes(junk)
    assert ask_all(workspace, [SUITE], MODEL, Parrot(HALF))["canaries"].score == 0.5
    assert json.loads((workspace.path / "answers.jsonl").read_bytes().splitlines()[-1])["answered"]
