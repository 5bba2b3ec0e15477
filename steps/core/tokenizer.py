"""Text into tokens, with the tokenizer of a model."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

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


def tokens_of(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str]) -> Iterator[list[int]]:
    """The tokens of each text, without special tokens: a text that spells one is text, not control."""
    for start in range(0, len(texts), BATCH_TEXTS):
        batch = list(texts[start : start + BATCH_TEXTS])
        encoded = tokenizer(
            batch,
            add_special_tokens=False,
            split_special_tokens=True,
            return_attention_mask=False,
            return_token_type_ids=False,
            verbose=False,
        )
        yield from encoded["input_ids"]


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
