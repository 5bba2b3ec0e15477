import math
from pathlib import Path

import pytest
import torch

from steps.core.likelihood import MAX_NATS, Encoded, batches, continuation, encode, first_context, summed_losses
from steps.core.models import load_model, load_tokenizer
from tests.builders import prose
from tests.tiny_models import tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny", seed=3)


def texts(*lengths: int) -> list[tuple[str, str]]:
    return [(f"item-{k}", prose(k)[:length]) for k, length in enumerate(lengths)]


def test_bytes_are_those_of_the_tokens_that_count(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    short, long = encode(tokenizer, [("a", "abc"), ("b", "abcdefgh")], max_tokens=5)  # a token is a byte
    assert (len(short.tokens), short.num_bytes) == (3, 3)
    assert (len(long.tokens), long.num_bytes) == (5, 5)


def test_a_letter_of_two_bytes_counts_two(folder: Path) -> None:
    assert encode(load_tokenizer(folder), [("a", "äb")], max_tokens=9)[0].num_bytes == 3


def test_a_text_that_spells_a_special_token_is_text(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    spelt = str(tokenizer.eos_token)
    assert tokenizer.eos_token_id not in encode(tokenizer, [("a", spelt)], max_tokens=60)[0].tokens


def test_a_text_without_tokens_is_refused(folder: Path) -> None:
    with pytest.raises(ValueError, match="item a: wanted a text of at least one token, found ''"):
        encode(load_tokenizer(folder), [("a", "")], max_tokens=5)


def test_a_tokenizer_without_begin_and_end_is_refused(folder: Path) -> None:
    tokenizer = load_tokenizer(folder)
    tokenizer.bos_token = tokenizer.eos_token = None
    with pytest.raises(ValueError, match="bos_token or eos_token, found neither"):
        first_context(tokenizer)


def test_the_loss_is_the_sum_of_the_log_probabilities_of_every_token_the_first_too(folder: Path) -> None:
    network, tokenizer = load_model(folder), load_tokenizer(folder)
    (text,) = encode(tokenizer, texts(20), max_tokens=60)
    context = first_context(tokenizer)
    with torch.inference_mode():
        logits_TV = network(torch.tensor([[context, *text.tokens]])).logits[0].double()
    by_hand = -sum(float(logits_TV[k].log_softmax(-1)[token]) for k, token in enumerate(text.tokens))
    assert summed_losses(network, [text], context) == pytest.approx([by_hand], abs=1e-5)


def test_what_stands_beside_an_item_does_not_change_its_loss(folder: Path) -> None:
    network, tokenizer = load_model(folder), load_tokenizer(folder)
    found = encode(tokenizer, texts(3, 60, 17, 44), max_tokens=60)
    alone = [summed_losses(network, [text], 0)[0] / len(text.tokens) for text in found]
    together = summed_losses(network, found, 0)
    assert [loss / len(text.tokens) for loss, text in zip(together, found, strict=True)] == pytest.approx(
        alone, abs=1e-5
    )


def test_a_broken_model_is_a_bad_one(folder: Path) -> None:
    network, tokenizer = load_model(folder), load_tokenizer(folder)
    with torch.no_grad():
        network.get_output_embeddings().weight.fill_(math.nan)
    (text,) = encode(tokenizer, texts(10), max_tokens=60)
    assert summed_losses(network, [text], 0) == [10 * MAX_NATS]


def test_batches_hold_every_text_once_the_longest_first() -> None:
    given = [
        Encoded(name=f"t{k}", tokens=tuple(range(length)), num_bytes=1) for k, length in enumerate((2, 5, 3, 5, 1))
    ]
    found = list(batches(given, 2))
    assert [[text.name for text in batch] for batch in found] == [["t1", "t3"], ["t2", "t0"], ["t4"]]
    assert list(batches(given[::-1], 2)) == found


def test_the_continuation_takes_the_likeliest_token_every_time(folder: Path) -> None:
    network, tokenizer = load_model(folder), load_tokenizer(folder)
    ids = tokenizer("The dog", add_special_tokens=False)["input_ids"]
    for _ in range(4):
        with torch.inference_mode():
            ids.append(int(network(torch.tensor([ids])).logits[0, -1].argmax()))
    assert continuation(network, tokenizer, "The dog", 4) == tokenizer.decode(ids[-4:], skip_special_tokens=True)
