import logging
import pickle
from pathlib import Path

import pytest
import torch

from steps.core.checkpoints import FACTS, TENSORS, Checkpoints, History
from tests.tiny_models import rows_of


def numbers(value: float) -> dict[str, torch.Tensor]:
    return {"weight": torch.full((4, 4), value)}


def test_the_latest_of_the_last_two_is_read_back(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c", "run")
    for step in (2, 9, 10):
        checkpoints.save(step, numbers(step))
    found = Checkpoints(tmp_path / "c", "run").latest()
    assert found is not None
    assert found.step == 10
    assert torch.equal(found.tensors["weight"], numbers(10)["weight"])
    assert sorted(path.name for path in (tmp_path / "c").glob("step-*")) == ["step-10", "step-9"]


def test_tensors_that_share_their_memory_come_back_apart(tmp_path: Path) -> None:
    shared = torch.arange(4.0)
    Checkpoints(tmp_path / "c", "run").save(1, {"one": shared, "other": shared, "part": shared[2:]})
    found = Checkpoints(tmp_path / "c", "run").latest()
    assert found is not None
    assert [found.tensors[name].tolist() for name in ("one", "other", "part")] == [[0, 1, 2, 3], [0, 1, 2, 3], [2, 3]]


@pytest.mark.parametrize("damage", ["bit", "short", "no tensors", "no facts", "junk facts", "other facts"])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    checkpoints = Checkpoints(tmp_path / "c", "run")
    checkpoints.save(1, numbers(1))
    checkpoints.save(2, numbers(2))
    tensors, facts = tmp_path / "c/step-2" / TENSORS, tmp_path / "c/step-2" / FACTS
    bytes_ = bytearray(tensors.read_bytes())
    bytes_[-1] ^= 1
    if damage == "bit":
        tensors.write_bytes(bytes_)
    if damage == "short":
        tensors.write_bytes(bytes_[:-8])
    if damage == "no tensors":
        tensors.unlink()
    if damage == "no facts":
        facts.unlink()
    if damage == "junk facts":
        facts.write_bytes(b"\xff\x00")
    if damage == "other facts":
        facts.write_text("[7]")
    found = Checkpoints(tmp_path / "c", "run").latest()
    assert found is not None
    assert found.step == 1
    assert "step-2: damaged checkpoint passed over" in caplog.text


def test_a_damaged_checkpoint_is_made_anew(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c", "run")
    checkpoints.save(1, numbers(1))
    (tmp_path / "c/step-1" / FACTS).unlink()
    checkpoints.save(1, numbers(3))
    found = checkpoints.latest()
    assert found is not None
    assert torch.equal(found.tensors["weight"], numbers(3)["weight"])


def test_a_pickle_planted_in_a_checkpoint_is_named_and_never_opened(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    checkpoints = Checkpoints(tmp_path / "c", "run")
    checkpoints.save(1, numbers(1))
    (tmp_path / "c/step-1/optimizer.pt").write_bytes(pickle.dumps(pytest.fail))
    with caplog.at_level(logging.WARNING):
        found = checkpoints.latest()
    assert found is not None
    assert found.step == 1
    assert "ignored optimizer.pt" in caplog.text


def test_a_write_that_was_cut_off_is_swept_away(tmp_path: Path) -> None:
    Checkpoints(tmp_path / "c", "run").save(1, numbers(1))
    (tmp_path / "c/.step-2").mkdir()
    (tmp_path / "c/.step-2" / TENSORS).write_bytes(b"half")
    found = Checkpoints(tmp_path / "c", "run").latest()
    assert found is not None
    assert found.step == 1
    assert not (tmp_path / "c/.step-2").exists()


def test_checkpoints_of_another_run_go(tmp_path: Path) -> None:
    Checkpoints(tmp_path / "c", "one").save(1, numbers(1))
    assert Checkpoints(tmp_path / "c", "two").latest() is None


@pytest.mark.parametrize("junk", [b"\xff\xfe{", b"[7]\n", b""])
def test_a_damaged_mark_or_history_begins_anew(tmp_path: Path, junk: bytes) -> None:
    Checkpoints(tmp_path / "c", "run").save(1, numbers(1))
    (tmp_path / "c/history.jsonl").write_bytes(junk)
    assert History(tmp_path / "c/history.jsonl").rows == {}
    (tmp_path / "c/run").write_bytes(junk)
    assert Checkpoints(tmp_path / "c", "run").latest() is None


def test_a_full_disk_loses_no_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoints = Checkpoints(tmp_path / "c", "run")
    checkpoints.save(1, numbers(1))

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match=r"step-2: cannot be written: .*No space left on device; free disk space"):
        checkpoints.save(2, numbers(2))
    found = checkpoints.latest()
    assert found is not None
    assert found.step == 1
    assert not (tmp_path / "c/.step-2").exists()


def test_a_step_is_told_once(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    assert history.add(1, {"loss": 2.0})
    again = History(tmp_path / "history.jsonl")
    assert not again.add(1, {"loss": 3.0})
    assert again.add(2, {"loss": 1.0})
    assert rows_of(tmp_path / "history.jsonl") == [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]


def test_a_line_that_was_cut_off_is_told_again(tmp_path: Path) -> None:
    (tmp_path / "history.jsonl").write_text('{"loss":2.0,"step":1}\n{"loss":1.')
    assert History(tmp_path / "history.jsonl").add(2, {"loss": 1.5})
    assert rows_of(tmp_path / "history.jsonl") == [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.5}]


def test_an_end_that_was_cut_off_leaves_no_half_run(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path / "c", "run")
    checkpoints.save(1, numbers(1))
    checkpoints.folder.replace(tmp_path / ".c.ended")
    assert Checkpoints(tmp_path / "c", "run").latest() is None
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_of_several_processes_one_writes_and_the_others_read(tmp_path: Path) -> None:
    writer, reader = Checkpoints(tmp_path / "c", "run"), Checkpoints(tmp_path / "c", "run", writes=False)
    writer.save(3, numbers(3))
    reader.save(4, numbers(4))
    reader.clear()
    assert [path.name for path in (tmp_path / "c").glob("step-*")] == ["step-3"]
    assert torch.equal(reader.at(3).tensors["weight"], numbers(3)["weight"])
    history = History(tmp_path / "history.jsonl", writes=False)
    assert not history.add(1, {"loss": 2.0})
    history.publish(tmp_path / "published.jsonl")
    assert not list(tmp_path.glob("*.jsonl"))
