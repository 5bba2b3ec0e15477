from steps.core.method import load_method
from steps.methods.replay import Memory
from tests.steps.methods.replay.entries import NOTHING_KNOWN, entries


def test_nothing_is_kept() -> None:
    method = load_method("replay", "none")()
    held = Memory(tuple(entries(0, 2)))
    assert method.update(held, ["t000"], entries(2, 3), NOTHING_KNOWN, seed=0) == Memory()  # type: ignore[attr-defined]
    assert method.model_dump() == {"method": "none"}
