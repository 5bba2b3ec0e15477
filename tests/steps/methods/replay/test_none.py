from steps.core.method import load_method
from steps.methods.replay import Memory


def test_nothing_is_kept() -> None:
    method = load_method("replay", "none")()
    assert method.update(Memory(keys=("a", "b")), ["a"], ["c"], seed=0) == Memory()  # type: ignore[attr-defined]
    assert method.model_dump() == {"method": "none"}
