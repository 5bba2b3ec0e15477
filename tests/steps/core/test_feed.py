import numpy as np
import pytest

from steps.core.documents import Message, joined
from steps.core.feed import Feed
from steps.core.rows import Writer, count_losses
from steps.core.state import CountedDocument
from tests.builders import build_document
from tests.chat import chat_tokenizer

TOKENIZER = chat_tokenizer()
END = int(TOKENIZER.eos_token_id)


def document(key: str, *turns: str) -> CountedDocument:
    """A plain document, or one of prompt and completion."""
    made = build_document(key, "\n\n".join(turns))
    if len(turns) == 2:
        messages = (Message(role="prompt", content=turns[0]), Message(role="completion", content=turns[1]))
        made = made.model_copy(update={"messages": messages, "text": joined(messages)})
    (count,) = count_losses(TOKENIZER, [made])
    return CountedDocument.model_construct(**dict(made), num_tokens=count)


def feed(*documents: CountedDocument, block_tokens: int = 8, apart: bool = False, older: bool = False) -> Feed:
    versions = {"page": build_document("page", "abc def")} if older else None
    return Feed("new/a", documents, Writer(TOKENIZER, END, older=versions), block_tokens, apart=apart)


def in_order(lengths_N: np.ndarray, num_tokens: int, epoch: int) -> np.ndarray:
    return np.arange(len(lengths_N))


def test_plain_text_is_one_stream_without_padding() -> None:
    packed = feed(document("a", "abc"), document("b", "de")).packed(in_order, 7)
    assert TOKENIZER.decode(packed.input_ids[0]) == "abc<|end|>de<|end|>a"
    assert packed.position_ids is packed.loss_mask is packed.padding is packed.changed is None


def test_labelled_rows_are_read_again_until_they_carry_what_is_wanted() -> None:
    fed = feed(document("a", "p ", "xy"), document("b", "q ", "z"))
    packed = fed.packed(in_order, 11)
    assert packed.num_losses.sum() == 3 + 2 + 3 + 2 + 3
    assert fed.times == {
        ("a", document("a", "p ", "xy").content_hash): 3,
        ("b", document("b", "q ", "z").content_hash): 2,
    }


def test_a_row_longer_than_a_block_is_cut_and_one_without_loss_is_left_out_and_both_are_told() -> None:
    fed = feed(document("whole", "p ", "xy"), document("cut", "pq ", "uvwxyz"), document("gone", "0123456789 ", "no"))
    packed = fed.packed(in_order, 14)
    assert fed.told == {"cut": 1, "no-completion-in-block": 1}
    assert {key for key, _ in fed.times} == {"whole", "cut"}
    shown = {TOKENIZER.decode(row[mask == 0]) for row, mask in zip(packed.input_ids, packed.padding, strict=True)}
    assert shown == {"p xy<|end|>", "pq uvwxy"}
    facts = fed.facts(packed)
    assert facts == {"padding_share": 6 / 32, "cut": 1, "no-completion-in-block": 1}
    assert packed.num_losses.tolist() == [3, 5, 3, 5]


def test_rows_of_which_none_has_a_completion_within_a_block_are_refused() -> None:
    with pytest.raises(
        ValueError, match=r"new/a: no labelled row .* within 8 tokens \(1 no-completion-in-block\); raise"
    ):
        feed(document("gone", "0123456789 ", "no")).packed(in_order, 5)


def test_a_source_without_text_is_refused() -> None:
    with pytest.raises(ValueError, match="new/a: plan wants 5 tokens, found no text"):
        feed().packed(in_order, 5)


def test_plain_text_keeps_its_marks_over_the_borders_of_blocks() -> None:
    fed = feed(document("other", "abc"), document("page", "abc xyz"), older=True)
    packed = fed.packed(in_order, 14)
    assert packed.changed is not None
    assert packed.changed.dtype == np.uint8
    assert TOKENIZER.decode(packed.input_ids.ravel()) == "abc<|end|>abc xyz<|end|>abc<|end|>"
    assert packed.changed.ravel().tolist() == [0] * 8 + [1] * 3 + [0] * 5
    assert fed.compared() == (1, 1)


def test_what_is_never_asked_for_is_not_written() -> None:
    asked: list[str] = []

    class Watched(Writer):
        def rows(self, documents):  # type: ignore[no-untyped-def]
            asked.extend(document.key for document in documents)
            return super().rows(documents)

    pages = [document(str(number), "p ", "xyz") for number in range(50)]
    Feed("new/a", pages, Watched(TOKENIZER, END), 8, apart=False).packed(in_order, 6)
    assert asked == ["0", "1"]
