"""Texts that begin alike are read once, and lose what each loses by itself."""

import math
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from transformers import GPT2Config, GPT2LMHeadModel, LlamaConfig, MistralConfig, PreTrainedModel
from transformers import LlamaForCausalLM as Llama
from transformers import MistralForCausalLM as Mistral

from steps.core.likelihood import MAX_NATS, Encoded, summed_losses
from steps.core.models import load_model
from steps.core.prefixes import answers as answers_of
from steps.core.prefixes import losses_by_part, reads_trees, tree_losses, trees
from tests.tiny_models import tiny_model

QUESTION = [5, 6, 7, 8]
CHOICES = [[*QUESTION, 10, 11], [*QUESTION, 10, 12, 13], [*QUESTION, 20]]
SHAPE = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> PreTrainedModel:
    return load_model(tiny_model(tmp_path_factory.mktemp("models") / "tiny", seed=3))


def answers(*texts: list[int], prompt: int = 4) -> list[Encoded]:
    return [
        Encoded(name=str(k), tokens=tuple(ids), num_bytes=1, carries=(*[False] * prompt, *[True] * (len(ids) - prompt)))
        for k, ids in enumerate(texts)
    ]


def test_what_texts_share_stands_once_in_a_row() -> None:
    (tree,) = trees(CHOICES, 100)
    assert tree.ids == [5, 6, 7, 8, 10, 11, 12, 13, 20]
    assert tree.positions == [0, 1, 2, 3, 4, 5, 5, 6, 4]
    assert tree.texts == [0, 1, 2]
    assert tree.paths == [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 6, 7], [0, 1, 2, 3, 8]]


def test_every_text_is_in_one_row_and_its_path_spells_it() -> None:
    texts = [[k % 3, k % 5, k % 2, *range(k % 7)] for k in range(40)]
    rows = list(trees(texts, 30))
    assert sorted(place for row in rows for place in row.texts) == list(range(40))
    for row in rows:
        assert len(row.ids) <= 30
        for place, path in zip(row.texts, row.paths, strict=True):
            assert [row.ids[at] for at in path] == texts[place]
            assert [row.positions[at] for at in path] == list(range(len(path)))
    assert sum(len(row.ids) for row in rows) < sum(map(len, texts))


def test_a_long_beginning_is_read_again_only_when_as_much_was_new() -> None:
    long = [[*range(100), 200 + k] for k in range(150)]
    assert [len(row.texts) for row in trees(long, 50)] == [102, 48]


def test_without_the_first_rows_the_others_are_the_same() -> None:
    texts = [[k % 4, *range(k % 9)] for k in range(30)]
    first, *others = trees(texts, 20)
    rest = [ids for place, ids in enumerate(texts) if place not in first.texts]
    assert [row.ids for row in trees(rest, 20)] == [row.ids for row in others]


def test_a_text_in_a_tree_loses_what_it_loses_by_itself(network: PreTrainedModel) -> None:
    texts = answers(*CHOICES, [9, 9, 9, 9, 1], [5, 6, 30, 31, 32, 33])
    alone = [summed_losses(network, [text], 0)[0] for text in texts]
    parts = list(losses_by_part(network, texts, 0, batch_items=2))
    assert [len(part) for part, _ in parts] == [5], "one row"
    found = {text.name: loss for part, nats in parts for text, loss in zip(part, nats, strict=True)}
    assert [found[text.name] for text in texts] == pytest.approx(alone, abs=1e-4)


def test_plain_texts_are_read_in_batches_as_ever(network: PreTrainedModel) -> None:
    plain = [Encoded(name=f"p{k}", tokens=tuple(range(1, 2 + k)), num_bytes=1) for k in range(5)]
    parts = list(losses_by_part(network, [*plain, *answers(*CHOICES)], 0, batch_items=2))
    assert [[text.name for text in part] for part, _ in parts] == [["0", "1", "2"], ["p4", "p3"], ["p2", "p1"], ["p0"]]
    for part, nats in parts[1:]:
        assert nats == summed_losses(network, part, 0), "to the bit"


def test_a_greedy_answer_is_told_from_others(network: PreTrainedModel) -> None:
    ids = [5, 6, 7]
    for _ in range(2):
        with torch.inference_mode():
            ids.append(int(network(torch.tensor([ids])).logits[0, -1].argmax()))
    other = [*ids[:4], (ids[4] + 1) % 40]
    rows = [([*text], [0, 0, 0, 1, 1]) for text in (other, ids)]
    found = dict(answers_of(network, rows))
    assert [found[place].greedy for place in (0, 1)] == [False, True]
    assert found[1].nats < found[0].nats


def test_a_broken_model_is_a_bad_one(tmp_path: Path) -> None:
    broken = load_model(tiny_model(tmp_path / "model"))
    texts = answers(*CHOICES)
    rows = [text.row(0) for text in texts]
    (tree,) = trees([ids for ids, _ in rows], 100)
    with torch.no_grad():
        broken.get_output_embeddings().weight.fill_(math.nan)
    assert tree_losses(broken, rows, tree) == [2 * MAX_NATS, 3 * MAX_NATS, MAX_NATS]


def test_models_of_other_kinds_are_asked() -> None:
    torch.manual_seed(0)
    llama = Llama(LlamaConfig(**SHAPE)).eval()
    gpt = GPT2LMHeadModel(GPT2Config(vocab_size=64, n_embd=32, n_layer=2, n_head=2, n_positions=64)).eval()
    window = Mistral(MistralConfig(**SHAPE, num_key_value_heads=2, sliding_window=4)).eval()
    assert [reads_trees(model) for model in (llama, gpt, window)] == [True, True, False]
    llama.set_attn_implementation("eager")
    assert reads_trees(llama)


def test_a_model_that_sees_its_neighbours_reads_no_trees() -> None:
    class Counting(torch.nn.Module):  # type: ignore[misc]
        """Says what stood before in the row, whatever the mask says."""

        def __init__(self) -> None:
            super().__init__()
            self.config = LlamaConfig(**SHAPE, attn_implementation="sdpa")
            self.device, self.dtype = torch.device("cpu"), torch.float32

        def forward(self, input_ids: torch.Tensor, logits_to_keep: torch.Tensor, **_: object) -> object:
            before = torch.nn.functional.one_hot(input_ids, 64).float().cumsum(dim=1)
            return type("Output", (), {"logits": before[:, logits_to_keep]})()

    model = Counting()
    texts = answers(*CHOICES)
    assert not reads_trees(model)
    parts = list(losses_by_part(model, texts, 0, batch_items=3))
    assert [[text.name for text in part] for part, _ in parts] == [["1", "0", "2"]], "in batches"


def test_paths_of_neighbours_part_where_the_texts_do() -> None:
    (tree,) = trees(CHOICES, 100)
    shared = [len([at for at in one if at in two]) for one, two in pairwise(tree.paths)]
    assert shared == [5, 4]
