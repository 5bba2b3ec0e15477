"""How likely a model finds a text: losses of items in nats, and a greedy continuation."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from steps.core.artifacts import Frozen
from steps.core.models import quiet, token_losses

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MAX_NATS = 100.0  # per token: float32 has no smaller probability than e^-103, and a broken model's NaN needs a number


class Encoded(Frozen):
    """The start of one text, as a model reads it."""

    name: str
    tokens: tuple[int, ...]
    num_bytes: int = Field(description="UTF-8 bytes of the text that the tokens cover")


def encode(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[tuple[str, str]], max_tokens: int) -> list[Encoded]:
    """The first tokens of named texts, without special tokens.

    Raises:
        ValueError: a text has no tokens.
    """
    found = []
    for name, text in texts:
        ids, num_bytes = _first_tokens(tokenizer, text, max_tokens)
        if not ids:
            raise ValueError(f"item {name}: wanted a text of at least one token, found {text[:40]!r}; remove the item")
        found.append(Encoded(name=name, tokens=tuple(ids), num_bytes=num_bytes))
    return found


def _first_tokens(tokenizer: "PreTrainedTokenizerBase", text: str, max_tokens: int) -> tuple[list[int], int]:
    if tokenizer.is_fast:
        encoding = tokenizer(
            text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True, verbose=False
        )
        ids, ends = encoding["input_ids"], [end for _, end in encoding["offset_mapping"]]
        covered = text if len(ids) <= max_tokens else text[: ends[max_tokens - 1]]
        return ids[:max_tokens], len(covered.encode())
    ids = tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
    covered = text if len(ids) <= max_tokens else tokenizer.decode(ids[:max_tokens])
    return ids[:max_tokens], len(covered.encode())


def first_context(tokenizer: "PreTrainedTokenizerBase") -> int:
    """The token that stands before a text so that its first token has a loss too: begin of text, or else end of text.

    Raises:
        ValueError: the tokenizer names neither.
    """
    for token in (tokenizer.bos_token_id, tokenizer.eos_token_id):
        if token is not None:
            return int(token)
    raise ValueError("tokenizer: wanted a bos_token or eos_token, found neither; name one in tokenizer_config.json")


def batches(texts: Sequence[Encoded], batch_items: int) -> Iterator[list[Encoded]]:
    """Texts of like length together, the longest first: memory peaks at once, and the pace only rises."""
    ordered = sorted(texts, key=lambda text: (-len(text.tokens), text.name))
    for start in range(0, len(ordered), batch_items):
        yield ordered[start : start + batch_items]


def summed_losses(network: "PreTrainedModel", batch: Sequence[Encoded], context: int) -> list[float]:
    """Loss of each text in nats, summed over its tokens, in float32; what stands beside it in the batch does not count.

    A token counts at most `MAX_NATS`, also where the loss is not a number: a broken model is a bad one, not an error.
    """
    import torch

    width = 1 + max(len(text.tokens) for text in batch)
    rows = [[context, *text.tokens] for text in batch]
    input_ids_BT = torch.tensor([row + [context] * (width - len(row)) for row in rows], device=network.device)
    mask_BT = torch.tensor([[0] + [1] * len(text.tokens) + [0] * (width - 1 - len(text.tokens)) for text in batch])
    with torch.no_grad():  # not inference mode: the network may be in training, and cut over processes
        loss_BP = token_losses(network, input_ids_BT, mask_BT.to(network.device))
    capped_BP = loss_BP.double().nan_to_num(nan=MAX_NATS, posinf=MAX_NATS).clamp(0.0, MAX_NATS)
    return [float(value) for value in capped_BP.sum(dim=1).cpu()]


def continuation(network: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prompt: str, num_tokens: int) -> str:
    """The greedy continuation of a prompt."""
    import torch
    from transformers import GenerationConfig

    stop: Any = tokenizer.eos_token_id
    ids = tokenizer(prompt, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"] or [
        first_context(tokenizer)
    ]
    input_ids = torch.tensor([ids], device=network.device)
    greedy = GenerationConfig(
        do_sample=False,
        max_new_tokens=num_tokens,
        eos_token_id=stop,
        pad_token_id=tokenizer.pad_token_id if tokenizer.pad_token_id is not None else stop,
    )
    with torch.inference_mode(), quiet():
        output = network.generate(
            input_ids=input_ids, attention_mask=torch.ones_like(input_ids), generation_config=greedy
        )
    return str(tokenizer.decode(output[0, len(ids) :], skip_special_tokens=True))
