from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from steps.core import packing
from steps.core.models import load_model
from steps.core.packing import best_fit, pack_rows
from steps.core.rows import Row
from tests.tiny_models import tiny_model

FILLER = 99


def row(token: int, prompt: int, completion: int) -> Row:
    """A labelled row of one token, its completion at its end."""
    carries = np.arange(prompt + completion) >= prompt
    return Row(np.full(prompt + completion, token, dtype=np.int32), carries)


def text(token: int, length: int) -> Row:
    return Row(np.full(length, token, dtype=np.int32))


def test_the_longest_goes_first_into_the_fullest_bin_that_has_room() -> None:
    assert best_fit([3, 7, 5, 2, 3], room=10) == [[1, 0], [2, 4, 3]]


def test_no_bin_overflows_and_every_piece_is_in_one() -> None:
    lengths = np.random.default_rng(20).integers(1, 51, size=300).tolist()
    bins = best_fit(lengths, room=50)
    assert sorted(place for own in bins for place in own) == list(range(300))
    assert max(sum(lengths[place] for place in own) for own in bins) <= 50
    assert len(bins) <= 1.25 * -(-sum(lengths) // 50)


def test_rows_are_whole_apart_and_the_rest_of_a_block_is_padding() -> None:
    packed = pack_rows(iter([row(1, 2, 2), row(2, 1, 3), row(3, 1, 2)]), wanted=6, block_tokens=8, filler=FILLER)
    assert packed.input_ids.tolist() == [[1, 1, 1, 1, 2, 2, 2, 2], [3, 3, 3, *[FILLER] * 5]]
    assert packed.position_ids is not None
    assert packed.position_ids.tolist() == [[0, 1, 2, 3, 0, 1, 2, 3], [0, 1, 2, 0, 1, 2, 3, 4]]
    assert packed.loss_mask is not None
    assert packed.loss_mask.tolist() == [[0, 0, 1, 1, 0, 1, 1, 1], [0, 1, 1, 0, 0, 0, 0, 0]]
    assert packed.padding is not None
    assert packed.padding.tolist() == [[0] * 8, [0, 0, 0, 1, 1, 1, 1, 1]]
    assert packed.num_losses.tolist() == [5, 2]
    assert packed.changed is None


def test_the_first_token_of_a_row_carries_no_loss_even_in_a_completion() -> None:
    packed = pack_rows(iter([row(1, 0, 3)]), wanted=2, block_tokens=4, filler=FILLER)
    assert packed.loss_mask is not None
    assert packed.loss_mask.tolist() == [[0, 1, 1, 0]]
    assert packed.num_losses.tolist() == [2]


def test_no_more_rows_are_asked_for_than_carry_what_is_wanted() -> None:
    asked = []

    def rows() -> Iterator[Row]:
        for number in range(9):
            asked.append(number)
            yield row(number, 1, 2)

    assert pack_rows(rows(), wanted=5, block_tokens=8, filler=FILLER).num_losses.sum() == 6
    assert asked == [0, 1, 2]


def test_the_order_of_documents_holds_from_window_to_window(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "WINDOW_BLOCKS", 2)
    lengths = [2, 6, 5, 3, 8, 1, 7, 4, 4]
    rows = [row(number, 0, length) for number, length in enumerate(lengths)]
    packed = pack_rows(iter(rows), wanted=sum(lengths) - len(lengths), block_tokens=8, filler=FILLER)
    blocks = [[token for token in dict.fromkeys(block) if token != FILLER] for block in packed.input_ids.tolist()]
    assert blocks == [[0, 1], [2, 3], [4], [5, 6], [7, 8]]


def test_plain_text_among_labelled_rows_fills_blocks_of_its_own() -> None:
    rows = [text(1, 3), row(7, 2, 2), text(2, 3)]
    packed = pack_rows(iter(rows), wanted=6, block_tokens=4, filler=FILLER)
    assert packed.input_ids.tolist() == [[1, 1, 1, 2], [7, 7, 7, 7], [2, 2, FILLER, FILLER]]
    assert packed.loss_mask is not None
    assert packed.loss_mask.tolist() == [[0, 1, 1, 1], [0, 0, 1, 1], [0, 1, 0, 0]]
    assert packed.position_ids is not None
    assert packed.position_ids.tolist() == [[0, 1, 2, 3], [0, 1, 2, 3], [0, 1, 0, 1]]


def test_plain_text_apart_begins_anew() -> None:
    packed = pack_rows(iter([text(1, 3), text(2, 3), row(7, 2, 2)]), 5, block_tokens=4, filler=FILLER, apart=True)
    assert packed.position_ids is not None
    assert packed.position_ids.tolist() == [[0, 1, 2, 0], [0, 1, 0, 1], [0, 1, 2, 3]]
    assert packed.num_losses.tolist() == [2, 1, 2]


def test_marks_go_where_their_tokens_go() -> None:
    marked = row(1, 1, 2)._replace(changed=np.array([False, True, False]))
    other = text(2, 5)._replace(changed=np.array([True, False, False, False, True]))
    packed = pack_rows(iter([other, marked]), wanted=6, block_tokens=4, filler=FILLER)
    assert packed.changed is not None
    assert packed.input_ids.tolist() == [[2, 2, 2, 2], [2, FILLER, FILLER, FILLER], [1, 1, 1, FILLER]]
    assert packed.changed.tolist() == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 1, 0, 0]]


def test_a_row_says_the_same_whatever_stands_beside_it(tmp_path: Path) -> None:
    rows = [row(number, 2, number) for number in range(3, 9)]
    packed = pack_rows(iter(rows), wanted=33, block_tokens=16, filler=1)
    assert packed.position_ids is not None
    network = load_model(tiny_model(tmp_path / "model"), device="cpu")
    input_ids, places = torch.from_numpy(packed.input_ids).long(), torch.from_numpy(packed.position_ids).long()
    with torch.inference_mode():
        together = network(input_ids=input_ids, position_ids=places, use_cache=False).logits
        for one in rows:
            alone = network(input_ids=torch.from_numpy(one.tokens)[None].long(), use_cache=False).logits[0]
            assert torch.allclose(together[input_ids == one.tokens[0]], alone, atol=1e-5)
