from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import numpy as np
import pytest

from steps.core.streams import Streams, cut, digest_of_streams, interleave, pack, steps_of, write_order, write_stream


def pieces(*lengths: int) -> Iterator[np.ndarray]:
    """Pieces of some lengths, again and again, their tokens counted from 1."""
    return (np.arange(1, length + 1, dtype=np.int32) for length in cycle(lengths))


def test_pieces_fill_blocks_and_run_over_their_borders() -> None:
    packed = pack(pieces(3, 2), wanted=5, block_tokens=4)
    assert packed.input_ids.tolist() == [[1, 2, 3, 1], [2, 1, 2, 3]]
    assert packed.num_losses.tolist() == [3, 3]
    assert packed.position_ids is None


def test_documents_apart_begin_anew_and_their_first_token_carries_no_loss() -> None:
    packed = pack(pieces(3, 2), wanted=5, block_tokens=4, apart=True)
    assert packed.input_ids.tolist() == [[1, 2, 3, 1], [2, 1, 2, 3], [1, 2, 1, 2]]
    assert packed.position_ids is not None
    assert packed.position_ids.tolist() == [[0, 1, 2, 0], [0, 0, 1, 2], [0, 1, 0, 1]]
    assert packed.num_losses.tolist() == [2, 2, 2]


def test_no_more_pieces_are_asked_for_than_are_packed() -> None:
    asked = []
    pack((asked.append(n) or np.full(4, n, dtype=np.int32) for n in range(9)), wanted=6, block_tokens=4)
    assert asked == [0, 1]


def test_documents_of_one_token_that_would_never_carry_loss_are_refused() -> None:
    with pytest.raises(ValueError, match=r"carry 0 of 5 loss tokens: .* hardly longer than one token"):
        pack(pieces(1), wanted=5, block_tokens=4, apart=True)


@pytest.mark.parametrize("stop", range(8))
@pytest.mark.parametrize("start", range(8))
def test_a_cut_holds_every_loss_token_once(start: int, stop: int) -> None:
    owners = [(0, 0), (0, 1), (0, 2), (2, 0), (3, 0), (3, 1), (3, 2)]  # block and place of each loss token
    if start <= stop:
        found = cut(np.array([3, 0, 1, 3], dtype=np.int32), start, stop)
        assert [(block, place) for block, first, last in found for place in range(first, last)] == owners[start:stop]


def test_blocks_fall_into_steps_that_others_began() -> None:
    assert steps_of(9, per_step=4) == [4, 4, 1]
    assert steps_of(9, per_step=4, before=6) == [2, 4, 3]
    assert steps_of(1, per_step=4, before=5) == [1]
    assert steps_of(0, per_step=4, before=5) == []


@pytest.mark.parametrize("counts", [[7, 3], [70, 20, 10], [1, 1, 97], [33, 33, 34], [5], [0, 8, 2]])
@pytest.mark.parametrize("per_step", [1, 4, 8])
def test_every_step_is_near_the_shares(counts: list[int], per_step: int) -> None:
    groups = steps_of(sum(counts), per_step)
    order = np.array([int(source) for source in interleave({str(n): count for n, count in enumerate(counts)}, groups)])
    assert np.bincount(order, minlength=len(counts)).tolist() == counts
    for end in range(per_step, len(order), per_step):
        so_far = np.bincount(order[:end], minlength=len(counts))
        assert np.abs(so_far - np.array(counts) * end / len(order)).max() < 1
        step = np.bincount(order[end - per_step : end], minlength=len(counts))
        assert np.abs(step - np.array(counts) * per_step / len(order)).max() < 2


def test_a_block_drawn_in_two_parts_carries_every_loss_once(tmp_path: Path) -> None:
    write_stream(tmp_path, 0, pack(pieces(5), wanted=6, block_tokens=4))
    write_stream(tmp_path, 1, pack(pieces(3, 2), wanted=2, block_tokens=4))
    streams = Streams(tmp_path, 2)
    assert streams.shapes() == [(2, 4), (1, 4)]
    assert streams.bounds() == (0, 5)
    draws = np.array([[0, 1, 0, 1], [0, 1, 1, 3]], dtype=np.int32)
    input_ids, loss_mask, *_ = streams.read(draws)
    assert input_ids.tolist() == [[5, 1, 2, 3]] * 2
    assert loss_mask.int().tolist() == [[0, 1, 0, 0], [0, 0, 1, 1]]


def test_the_loss_of_documents_apart_follows_their_positions(tmp_path: Path) -> None:
    write_stream(tmp_path, 0, pack(pieces(3, 2), wanted=5, block_tokens=4, apart=True))
    _, loss_mask, positions, changed, padding = Streams(tmp_path, 1).read(
        np.array([[0, 2, 0, 2], [0, 2, 1, 2]], dtype=np.int32)
    )
    assert loss_mask.int().tolist() == [[0, 1, 0, 1], [0, 0, 0, 1]]
    assert positions is not None
    assert positions.tolist() == [[0, 1, 0, 1]] * 2
    assert changed is None
    assert padding is None


def test_the_digest_is_that_of_streams_and_order(tmp_path: Path) -> None:
    write_stream(tmp_path, 0, pack(pieces(5), wanted=6, block_tokens=4))
    write_order(tmp_path, [(0, 0, 0, 3), (0, 1, 0, 3)], per_step=4)
    assert np.load(tmp_path / "order.npy")[2:].tolist() == [[-1, 0, 0, 0]] * 2
    whole = digest_of_streams(tmp_path)
    write_order(tmp_path, [(0, 1, 0, 3), (0, 0, 0, 3)], per_step=4)
    assert digest_of_streams(tmp_path) != whole
