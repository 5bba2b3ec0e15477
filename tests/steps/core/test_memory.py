import sys
from pathlib import Path

import pytest
import torch

from steps.core.memory import give_back, has_room, used_mb


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1]) * 4096


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_what_was_freed_among_what_lives_on_goes_back() -> None:
    pieces = [bytearray(20_000) for _ in range(3_000)]
    pieces[:] = [piece for number, piece in enumerate(pieces) if number % 100 == 0]
    before = resident_bytes()
    give_back()
    assert before - resident_bytes() > 20e6
    assert all(piece == bytearray(20_000) for piece in pieces)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_what_a_process_holds_is_told_in_megabytes() -> None:
    if torch.cuda.is_initialized():
        pytest.skip("a test before this one used the GPU")
    assert used_mb() == pytest.approx(resident_bytes() / 1e6, rel=0.05)


def test_only_a_gpu_runs_out_of_room() -> None:
    assert has_room("cpu", 1e15)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_gpu_has_room_for_what_it_can_hold() -> None:
    assert has_room("cuda", 1e6)
    assert not has_room("cuda", 1e15)
