"""Text into tokens, with the tokenizer of a model."""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from steps.core import models
from steps.core.artifacts import Model
from steps.core.workspace import Workspace

if TYPE_CHECKING:  # transformers takes seconds to import
    from transformers import PreTrainedTokenizerBase

BATCH_TEXTS = 256


def load_tokenizer(workspace: Workspace, model: Model) -> "PreTrainedTokenizerBase":
    """The tokenizer of a model, read from its folder; code in the folder is never run.

    Raises:
        ValueError: the folder has no tokenizer that can be read.
    """
    return models.load_tokenizer(workspace.at(model.path))


def tokens_of(
    tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str], *, control: bool = False
) -> Iterator[list[int]]:
    """The tokens of each text, none added. A text that spells a special token is text, unless it is `control`."""
    for encoded in _encoded(tokenizer, texts, control=control):
        yield from encoded["input_ids"]


def placed_tokens_of(
    tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str], *, control: bool = False
) -> Iterator[tuple[list[int], list[tuple[int, int]]]]:
    """As `tokens_of`, and the characters that each token stands for; a slow tokenizer cannot say."""
    for encoded in _encoded(tokenizer, texts, control=control, return_offsets_mapping=True):
        yield from zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)


def _encoded(
    tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str], *, control: bool, **wanted: bool
) -> Iterator[Mapping[str, Any]]:
    for start in range(0, len(texts), BATCH_TEXTS):
        yield tokenizer(
            list(texts[start : start + BATCH_TEXTS]),
            add_special_tokens=False,
            split_special_tokens=not control,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
            **wanted,
        )


def count_tokens(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> list[int]:
    """The number of tokens of each text, without special tokens."""
    return [len(tokens) for tokens in tokens_of(tokenizer, texts)]


def end_token(tokenizer: "PreTrainedTokenizerBase", wanted: str | None = None) -> int:
    """The token that stands between documents: the wanted one, or the tokenizer's end of text.

    Raises:
        ValueError: the tokenizer does not have it.
    """
    if wanted is None:
        if tokenizer.eos_token_id is None:
            raise ValueError("mix: the model's tokenizer has no end-of-text token; name one in mix.separator")
        return int(tokenizer.eos_token_id)
    vocabulary = tokenizer.get_vocab()
    if wanted not in vocabulary:
        raise ValueError(f"mix: separator {wanted!r} is not one token of the model's tokenizer; choose one that is")
    return int(vocabulary[wanted])
