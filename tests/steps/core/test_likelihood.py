import math
from pathlib import Path

import pytest
import torch

from steps.core.documents import Item, Message, joined
from steps.core.likelihood import (
    MAX_NATS,
    Encoded,
    batches,
    continuation,
    encode,
    encode_items,
    first_context,
    prompt_of,
    summed_losses,
)
from steps.core.models import load_model, load_tokenizer
from tests.builders import prose
from tests.chat import CHATML, DATED, chat_tokenizer
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


def labelled(*turns: tuple[str, str], name: str = "item", time: str | None = None) -> Item:
    messages = tuple(Message(role=role, content=content) for role, content in turns)
    return Item(id=name, task="questions", document=name, text=joined(messages), messages=messages, time=time)


WHY = labelled(("prompt", "Why?"), ("completion", "So."), name="why")
TALK = labelled(("user", "Hi"), ("assistant", "Ho"), ("user", "And?"), ("assistant", "Yes"), name="talk")
PLAIN = Item(id="plain", task="docs", document="plain", text="The dog")


def shown(text: Encoded, tokenizer: object) -> tuple[str, str]:
    """What the model reads, and what of it counts."""
    assert text.carries is not None
    counts = [token for token, counted in zip(text.tokens, text.carries, strict=True) if counted]
    return tokenizer.decode(text.tokens), tokenizer.decode(counts)  # type: ignore[attr-defined]


def test_a_labelled_item_is_read_as_training_reads_it_and_judged_by_its_completions() -> None:
    tokenizer = chat_tokenizer(CHATML)
    why, talk = encode_items(tokenizer, [WHY, TALK], max_tokens=60)
    assert shown(why, tokenizer) == ("<|from|>user\nWhy?<|to|>\n<|from|>assistant\nSo.<|to|>\n", "So.<|to|>\n")
    assert (why.num_losses, why.num_bytes) == (5, 4), "the control token has no bytes"
    assert shown(talk, tokenizer)[1] == "Ho<|to|>\nYes<|to|>\n"


def test_without_a_template_the_prompt_stands_behind_a_context_token_and_no_separator_counts() -> None:
    tokenizer = chat_tokenizer()
    (talk,) = encode_items(tokenizer, [TALK], max_tokens=60)
    assert shown(talk, tokenizer) == ("<|begin|>Hi\n\nHo<|end|>\n\nAnd?\n\nYes", "\n\nHo\n\nYes")
    (plain,) = encode_items(chat_tokenizer(CHATML), [TALK], 60, "plain")
    assert plain == talk


def test_of_a_long_completion_the_first_tokens_count_and_nothing_behind_them_is_read() -> None:
    tokenizer = chat_tokenizer(CHATML)
    (talk,) = encode_items(tokenizer, [TALK], max_tokens=5)
    assert shown(talk, tokenizer)[1] == "Ho<|to|>\nY"
    assert talk.carries is not None
    assert talk.carries[-1]
    assert talk.num_bytes == len("Ho\nY")


def test_a_plain_item_is_what_it_was_beside_labelled_ones() -> None:
    tokenizer = chat_tokenizer(CHATML)
    assert encode_items(tokenizer, [WHY, PLAIN], 60)[1:] == encode(tokenizer, [("plain", PLAIN.text)], 60)
    assert encode_items(tokenizer, [PLAIN, WHY], 60)[1].name == "why", "the order is kept"


@pytest.mark.parametrize("said", ["spelled <|to|>", ""])
def test_an_item_that_can_be_no_row_is_judged_by_its_text(said: str) -> None:
    item = labelled(("prompt", "Why?"), ("completion", said))
    (text,) = encode_items(chat_tokenizer(CHATML if said else None), [item], 60)
    assert text == encode(chat_tokenizer(), [("item", item.text)], 60)[0]


def test_a_template_that_writes_the_day_writes_the_record_s() -> None:
    tokenizer = chat_tokenizer(DATED)
    item = labelled(("prompt", "Why?"), ("completion", "So."), time="2021-03-04T00:00:00Z")
    (text,) = encode_items(tokenizer, [item], 60)
    assert shown(text, tokenizer)[0].startswith("Today: 04 March 2021\n")


def test_the_loss_of_a_labelled_item_is_that_of_its_completions_alone(folder: Path) -> None:
    network, tokenizer = load_model(folder), load_tokenizer(folder)
    tokenizer.chat_template = CHATML
    items = encode_items(tokenizer, [WHY, PLAIN, TALK], 60)
    by_hand = []
    for text in (items[0], items[2]):
        assert text.carries is not None
        with torch.inference_mode():
            logits_TV = network(torch.tensor([text.tokens])).logits[0].double()
        counted = [place for place, counts in enumerate(text.carries) if counts]
        by_hand.append(-sum(float(logits_TV[k - 1].log_softmax(-1)[text.tokens[k]]) for k in counted))
    context = first_context(tokenizer)
    together = summed_losses(network, items, context)
    assert together[::2] == pytest.approx(by_hand, abs=1e-5)
    assert together[1] == pytest.approx(summed_losses(network, [items[1]], context)[0], abs=1e-5)


def test_a_model_goes_on_from_the_first_words_or_from_the_question() -> None:
    tokenizer = chat_tokenizer(CHATML)
    shown, ids = prompt_of(tokenizer, TALK)
    assert (shown, tokenizer.decode(ids)) == ("Hi", "<|from|>user\nHi<|to|>\n<|from|>assistant\n")
    shown, ids = prompt_of(tokenizer, Item(id="p", task="t", document="d", text="word " * 20))
    assert (shown, tokenizer.decode(ids)) == ("word " * 11 + "word", shown)


def test_batches_hold_every_text_once_the_longest_first() -> None:
    given = [
        Encoded(name=f"t{k}", tokens=tuple(range(length)), num_bytes=1) for k, length in enumerate((2, 5, 3, 5, 1))
    ]
    found = list(batches(given, 2))
    assert [[text.name for text in batch] for batch in found] == [["t1", "t3"], ["t2", "t0"], ["t4"]]
    assert list(batches(given[::-1], 2)) == found


def test_a_batch_ends_where_padding_would_cost_more() -> None:
    lengths = [100, 99, 98, 97, 96, 60, 50, 50, 50, 20]
    given = [Encoded(name=f"t{k}", tokens=tuple(range(length)), num_bytes=1) for k, length in enumerate(lengths)]
    found = [[len(text.tokens) for text in batch] for batch in batches(given, 16)]
    assert found == [[100, 99, 98, 97, 96], [60, 50, 50, 50], [20]]
    assert list(batches(given[5:], 16)) == list(batches(given, 16))[1:], "what is done changes no other batch"


def test_the_continuation_takes_the_likeliest_token_every_time(folder: Path) -> None:
    network, tokenizer = load_model(folder), load_tokenizer(folder)
    ids = tokenizer("The dog", add_special_tokens=False)["input_ids"]
    for _ in range(4):
        with torch.inference_mode():
            ids.append(int(network(torch.tensor([ids])).logits[0, -1].argmax()))
    assert continuation(network, tokenizer, "The dog", 4) == tokenizer.decode(ids[-4:], skip_special_tokens=True)
