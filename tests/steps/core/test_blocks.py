from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from steps.core.artifacts import TrainingSet
from steps.core.blocks import Blocks, keeps_apart
from steps.core.models import load_model, load_tokenizer, token_losses
from steps.core.streams import pack
from tests.tiny_models import TEXT, tiny_model, tiny_workspace, training_set


def made(root: Path, **masked: int) -> tuple[Path, TrainingSet]:
    workspace = tiny_workspace(root)
    blocks = training_set(workspace, num_steps=2, per_step=3, block_tokens=8)
    path = workspace.at(blocks.path) / "order.npy"
    draws_D4 = np.load(path)
    for row in masked.values():
        draws_D4[row, 3] = 0
    np.save(path, draws_D4)
    return path.parent, blocks


def test_the_blocks_of_a_step_come_in_their_order_with_their_sources(tmp_path: Path) -> None:
    folder, training = made(tmp_path)
    blocks = Blocks(folder, training)
    parts = list(blocks.micro_batches(2, size=2))
    assert [part.sources for part in parts] == [["replay/general", "new/alpha"], ["replay/general"]]
    streams = [load_file(folder / f"streams/{number}.safetensors")["input_ids"] for number in (0, 1)]
    wanted = torch.stack([streams[1][1], streams[0][2], streams[1][2]])
    assert torch.equal(torch.cat([part.input_ids for part in parts]), wanted.long())
    assert (blocks.num_losses(1), blocks.num_losses(2)) == (21, 7 + 7 + 3)
    assert blocks.achieved() == {"new/alpha": 21, "replay/general": 17}


def test_replayed_blocks_come_once_and_whole_and_rows_know_their_draws(tmp_path: Path) -> None:
    folder, training = made(tmp_path)
    draws_D4 = np.load(folder / "order.npy")
    draws_D4[1, 3] = 2  # the first replayed block is cut, and drawn again for the rest of its loss
    draws_D4[3] = (1, 0, 2, 7)
    np.save(folder / "order.npy", draws_D4)
    blocks = Blocks(folder, training)
    assert blocks.replays
    found = list(blocks.replayed(2))
    assert [batch.draws for batch in found] == [[(1, 0, 0), (1, 2, 0)]]  # block 1 is not drawn any more
    assert found[0].loss_mask.sum(dim=1).tolist() == [7, 7]
    rows = next(blocks.micro_batches(2, size=3))
    assert rows.draws == [(1, 0, 2), (0, 2, 0), (1, 2, 0)]
    part = rows.only(torch.tensor([True, False, True]))
    assert part is not None
    assert part.to("cpu").draws == [(1, 0, 2), (1, 2, 0)]


def test_nothing_is_replayed_if_it_is_not_drawn(tmp_path: Path) -> None:
    blocks = Blocks(*made(tmp_path, first=1, second=3, third=5))
    assert not blocks.replays
    assert not list(blocks.replayed(1))


def test_a_block_without_loss_is_not_computed(tmp_path: Path) -> None:
    blocks = Blocks(*made(tmp_path, masked=1))
    assert [part.sources for part in blocks.micro_batches(1, size=1)] == [["new/alpha"], ["new/alpha"]]


@pytest.mark.parametrize("num_ranks", [1, 2, 3, 4])
def test_processes_share_the_blocks_of_a_step_and_make_as_many_passes(tmp_path: Path, num_ranks: int) -> None:
    blocks = Blocks(*made(tmp_path))
    own = [list(blocks.micro_batches(2, 1, rank, num_ranks)) for rank in range(num_ranks)]
    idle = [list(blocks.idle_batches(2, 1, rank, num_ranks)) for rank in range(num_ranks)]
    whole = sorted(row.tolist() for part in blocks.micro_batches(2, 3) for row in part.input_ids)
    assert sorted(row.tolist() for parts in own for part in parts for row in part.input_ids) == whole
    assert {len(parts) + len(more) for parts, more in zip(own, idle, strict=True)} == {-(-3 // num_ranks)}


def test_a_training_set_without_blocks_is_refused(tmp_path: Path) -> None:
    folder, blocks = made(tmp_path)
    with pytest.raises(ValueError, match=r"has no block; land more documents or raise plan\.budget_tokens"):
        Blocks(folder, blocks.model_copy(update={"num_steps": 0}))


@pytest.mark.parametrize(("column", "value"), [(1, 99), (3, 8)])
def test_draws_beyond_a_stream_are_refused(tmp_path: Path, column: int, value: int) -> None:
    folder, blocks = made(tmp_path)
    draws_D4 = np.load(folder / "order.npy")
    draws_D4[2, column] = value
    np.save(folder / "order.npy", draws_D4)
    with pytest.raises(ValueError, match="new/alpha has fewer blocks than are drawn; mix again"):
        Blocks(folder, blocks)


def test_blocks_of_another_length_are_refused(tmp_path: Path) -> None:
    folder, blocks = made(tmp_path)
    with pytest.raises(ValueError, match=r"wanted blocks of 9 tokens, found \[8\]"):
        Blocks(folder, blocks.model_copy(update={"block_tokens": 9}))


FIRST, SECOND = TEXT[:9], TEXT[20:27]


def packed_losses(parent: Path, *, apart: bool) -> torch.Tensor:
    """The losses of two short documents in one block."""
    tokenizer = load_tokenizer(parent)
    pieces = (np.array(tokenizer(text, add_special_tokens=False)["input_ids"]) for text in (FIRST, SECOND))
    packed = pack(pieces, 14 if apart else 15, 16, apart=apart)
    input_ids_BT = torch.from_numpy(packed.input_ids).long()
    placed_BT = torch.arange(16)[None]
    if packed.position_ids is not None:
        placed_BT = torch.from_numpy(packed.position_ids).long()
    with torch.inference_mode():
        return token_losses(load_model(parent), input_ids_BT, placed_BT > 0, placed_BT if apart else None)[0]


def test_documents_apart_have_the_losses_that_each_has_alone(tmp_path: Path) -> None:
    parent = tiny_model(tmp_path / "parent")
    network, tokenizer = load_model(parent), load_tokenizer(parent)
    alone = []
    for text in (FIRST, SECOND):
        input_ids_BT = torch.tensor([tokenizer(text, add_special_tokens=False)["input_ids"]])
        mask_BT = torch.ones_like(input_ids_BT)
        with torch.inference_mode():
            alone.append(token_losses(network, input_ids_BT, mask_BT)[0])
    apart, together = packed_losses(parent, apart=True), packed_losses(parent, apart=False)
    assert torch.allclose(apart, torch.cat(alone), rtol=0, atol=1e-5)
    assert torch.allclose(together[:8], alone[0], rtol=0, atol=1e-5)
    assert (together[9:] - alone[1]).abs().max() > 1e-3


def test_a_model_is_asked_whether_it_keeps_documents_apart(tmp_path: Path) -> None:
    network = load_model(tiny_model(tmp_path / "parent"))
    assert keeps_apart(network)
    whole = network.forward

    class Blind(type(network)):  # type: ignore[misc]
        def forward(self, position_ids: torch.Tensor, **facts: object) -> object:
            return whole(**facts)

    network.__class__ = Blind
    assert not keeps_apart(network)
