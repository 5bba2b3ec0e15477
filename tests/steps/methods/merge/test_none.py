from pathlib import Path

from steps.core.method import load_method


def test_the_trained_model_is_taken_and_nothing_is_written(tmp_path: Path) -> None:
    rule = load_method("merge", "none")()
    assert rule.merge(tmp_path / "parent", tmp_path / "trained", tmp_path / "out") == tmp_path / "trained"  # type: ignore[attr-defined]
    assert list(tmp_path.iterdir()) == []
