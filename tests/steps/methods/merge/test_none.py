from pathlib import Path

from steps.core.method import load_method
from steps.methods.merge import Merge, Sources


def test_the_trained_model_is_taken_and_nothing_is_written(tmp_path: Path) -> None:
    rule = load_method("merge", "none")()
    assert isinstance(rule, Merge)
    given = Sources(parent=tmp_path / "parent", trained=tmp_path / "trained")
    assert rule.merge(given, tmp_path / "out") == given.trained
    assert not (tmp_path / "out").exists()
