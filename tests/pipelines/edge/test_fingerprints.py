"""What changes a fingerprint, and what does not."""

import textwrap
from pathlib import Path

import pytest

from pipelines.edge import fingerprints
from pipelines.edge.fingerprints import code_digest, digests_in, methods_steering
from steps.core.artifacts import Segment, TrainingSet

SOURCE = '''
"""A stage."""
import numpy
from steps.core.shared import double

def stage(x):
    """Twice and one."""
    return double(x) + 1  # why
'''


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(fingerprints, "STEPS", tmp_path / "steps")
    fingerprints._read.cache_clear()
    (tmp_path / "steps" / "core").mkdir(parents=True)
    write(tmp_path, "steps/stage.py", SOURCE)
    write(tmp_path, "steps/core/shared.py", "def double(x):\n    return 2 * x\n")
    write(tmp_path, "steps/other.py", "def other():\n    return 0\n")
    return tmp_path


def write(tree: Path, name: str, text: str) -> None:
    (tree / name).write_text(textwrap.dedent(text), encoding="utf-8")
    fingerprints._read.cache_clear()


def test_comments_docstrings_and_line_breaks_change_nothing(tree: Path) -> None:
    before = code_digest(["steps.stage"])
    write(tree, "steps/stage.py", SOURCE.replace("# why", "# because").replace("Twice", "Two times") + "\n\n")
    assert code_digest(["steps.stage"]) == before


def test_a_changed_number_changes_it(tree: Path) -> None:
    before = code_digest(["steps.stage"])
    write(tree, "steps/stage.py", SOURCE.replace("+ 1", "+ 2"))
    assert code_digest(["steps.stage"]) != before


def test_a_changed_module_below_changes_it(tree: Path) -> None:
    before = code_digest(["steps.stage"])
    write(tree, "steps/core/shared.py", "def double(x):\n    return x + x\n")
    assert code_digest(["steps.stage"]) != before


def test_a_module_that_is_not_reached_does_not(tree: Path) -> None:
    before = code_digest(["steps.stage"])
    write(tree, "steps/other.py", "def other():\n    return 1\n")
    assert code_digest(["steps.stage"]) == before


def test_a_library_behind_the_numbers_changes_it_but_not_its_build_label(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = {"numpy": "2.4.6"}
    monkeypatch.setattr(fingerprints, "version", found.__getitem__)
    before = code_digest(["steps.stage"])
    found["numpy"] = "2.4.6+cu130"
    assert code_digest(["steps.stage"]) == before
    found["numpy"] = "2.4.7"
    assert code_digest(["steps.stage"]) != before


def test_only_the_digest_of_an_artifact_counts_never_its_path() -> None:
    here, there = Segment(digest="d", path="data/a"), Segment(digest="d", path="elsewhere/b")
    assert digests_in([{"x": here}]) == digests_in([{"x": there}]) == [{"x": "d"}]


def test_a_step_takes_nothing_but_artifacts() -> None:
    with pytest.raises(TypeError, match="a step takes artifacts, found int"):
        digests_in([3])


def test_the_mixture_that_steers_training_decides_its_fingerprint_too() -> None:
    facts = {"path": "data/mix", "num_steps": 1, "blocks_per_step": 1, "block_tokens": 8, "planned": {}, "achieved": {}}
    fixed = TrainingSet.model_validate({"digest": "set", **facts})
    steered = fixed.model_copy(update={"steered": {"method": "skill-graph", "update_steps": 5}})
    assert methods_steering([Segment(digest="a", path="b"), fixed]) == []
    assert methods_steering([steered]) == ["steps.methods.mixture.skill_graph"]
