"""How likely a model finds a text: losses of items in nats, and a greedy continuation.

A plain item is judged on all its tokens. A labelled one is written as training writes it (`steps/core/rows.py`), and
its completions alone are judged: with what the chat template ends them by, but without the separator of rows that have
no template. Bytes are those of the text that counts.
"""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from steps.core.artifacts import Frozen
from steps.core.documents import Document, Item
from steps.core.models import quiet, token_losses
from steps.core.rows import How, Row, Writer, is_completion

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

MAX_NATS = 100.0  # per token: float32 has no smaller probability than e^-103, and a broken model's NaN needs a number
PROMPT_WORDS = 12
FEW_ITEMS, LEAST_FILLED = 4, 0.85  # on one core four rows are read nearly as fast, token by token, as sixteen
MAX_PROMPT = 4096  # tokens before a completion that are read, at most; of a longer prompt the last


class Encoded(Frozen):
    """The start of one text, as a model reads it."""

    name: str
    tokens: tuple[int, ...]
    num_bytes: int = Field(description="UTF-8 bytes of the text that counts")
    carries: tuple[bool, ...] | None = Field(
        None, description="which tokens count, never the first; none: a plain text, all of it, behind a context token"
    )

    @property
    def num_losses(self) -> int:
        """How many tokens count."""
        return len(self.tokens) if self.carries is None else sum(self.carries)

    def row(self, context: int) -> tuple[list[int], list[int]]:
        """What the model reads, and 1 where a token counts."""
        if self.carries is None:
            return [context, *self.tokens], [0] + [1] * len(self.tokens)
        return list(self.tokens), [int(counts) for counts in self.carries]


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


def encode_items(
    tokenizer: "PreTrainedTokenizerBase", items: Sequence[Item], max_tokens: int, labelled: How = "auto"
) -> list[Encoded]:
    """Hold-out items, in their order, as far as their first tokens that count.

    A labelled item that cannot be written as a row (it spells a control token, or says nothing) is judged by its text.

    Raises:
        ValueError: an item has no tokens, or the chat template cannot write one.
    """
    rows = _labelled(tokenizer, [item for item in items if item.messages], max_tokens, labelled)
    plain = [(item.id, item.text) for item in items if item.id not in rows]
    found = rows | {text.name: text for text in encode(tokenizer, plain, max_tokens)}
    return [found[item.id] for item in items]


def _labelled(
    tokenizer: "PreTrainedTokenizerBase", items: Sequence[Item], max_tokens: int, how: How
) -> dict[str, Encoded]:
    """Those of labelled items that can be rows, by name."""
    if not items:
        return {}
    end = tokenizer.eos_token_id if tokenizer.eos_token_id is not None else first_context(tokenizer)
    writer = Writer(tokenizer, int(end), how)
    documents = [
        Document(
            key=item.document,
            content_hash="",
            text=item.text,
            task=item.task,
            source="",
            language="",
            time=item.time or "",
            licence="",
            batch="",
            messages=item.messages,
        )
        for item in items
    ]
    found = {}
    for item, row in zip(items, writer.rows(documents), strict=True):
        if row is not None and (read := _judged(tokenizer, item.id, row, max_tokens, None if writer.is_chat else end)):
            found[item.id] = read
    return found


def _judged(
    tokenizer: "PreTrainedTokenizerBase", name: str, row: Row, max_tokens: int, end: int | None
) -> Encoded | None:
    """A row as far as its first tokens that count; none: none does. `end`: the separator of a row without template."""
    assert row.carries is not None, "a labelled document's row"
    tokens, carries = row.tokens.tolist(), row.carries.tolist()
    if end is not None:
        carries = [counts and token != end for token, counts in zip(tokens, carries, strict=True)]
        tokens, carries = [first_context(tokenizer), *tokens], [False, *carries]
    places = [place for place, counts in enumerate(carries) if counts and place][:max_tokens]
    if not places:
        return None
    start, stop, counted = max(0, places[0] - MAX_PROMPT), places[-1] + 1, set(places)
    said = tokenizer.decode([tokens[place] for place in places], skip_special_tokens=True)
    return Encoded(
        name=name,
        tokens=tuple(tokens[start:stop]),
        num_bytes=max(1, len(said.encode())),
        carries=tuple(place in counted for place in range(start, stop)),
    )


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
    """Texts of like length together, the longest first: memory peaks at once, and the pace only rises.

    A batch ends early where the next text is so much shorter that padding would cost more than a smaller batch does.
    """
    batch: list[Encoded] = []
    for text in sorted(texts, key=lambda text: (-len(text.tokens), text.name)):
        padded = len(batch) >= FEW_ITEMS and len(text.tokens) < LEAST_FILLED * len(batch[0].tokens)
        if batch and (len(batch) == batch_items or padded):
            yield batch
            batch = []
        batch.append(text)
    if batch:
        yield batch


def summed_losses(network: "PreTrainedModel", batch: Sequence[Encoded], context: int) -> list[float]:
    """Loss of each text in nats, summed over what counts, in float32; what stands beside it in the batch does not.

    A token counts at most `MAX_NATS`, also where the loss is not a number: a broken model is a bad one, not an error.
    """
    import torch

    rows = [text.row(context) for text in batch]
    width = max(len(tokens) for tokens, _ in rows)
    input_ids_BT = torch.tensor(
        [tokens + [context] * (width - len(tokens)) for tokens, _ in rows], device=network.device
    )
    mask_BT = torch.tensor([counts + [0] * (width - len(counts)) for _, counts in rows])
    with torch.no_grad():  # not inference mode: the network may be in training, and cut over processes
        loss_BP = token_losses(network, input_ids_BT, mask_BT.to(network.device))
    capped_BP = loss_BP.double().nan_to_num(nan=MAX_NATS, posinf=MAX_NATS).clamp(0.0, MAX_NATS)
    return [float(value) for value in capped_BP.sum(dim=1).cpu()]


def continuation(network: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", prompt: str, num_tokens: int) -> str:
    """The greedy continuation of a prompt."""
    ids = tokenizer(prompt, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
    return continued(network, tokenizer, ids or [first_context(tokenizer)], num_tokens)


def prompt_of(tokenizer: "PreTrainedTokenizerBase", item: Item, labelled: How = "auto") -> tuple[str, tuple[int, ...]]:
    """What a model is to go on from, for a person and in tokens: an item's first words, or all before its answer.

    A labelled item's tokens are all that it reads before the first one that counts; a person sees the last turn.
    """
    (text,) = encode_items(tokenizer, [item], 1, labelled)
    if text.carries is None or item.messages is None:
        words = " ".join(item.text.split()[:PROMPT_WORDS])
        ids = tokenizer(words, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
        return words, tuple(ids) or (first_context(tokenizer),)
    answer = next((place for place, turn in enumerate(item.messages) if is_completion(turn) and place), 1)
    return item.messages[answer - 1].content.strip(), text.tokens[:-1]


def continued(
    network: "PreTrainedModel", tokenizer: "PreTrainedTokenizerBase", ids: Sequence[int], num_tokens: int
) -> str:
    """What a model goes on with, greedily, after some tokens."""
    import torch
    from transformers import GenerationConfig

    stop: Any = tokenizer.eos_token_id
    input_ids = torch.tensor([list(ids)], device=network.device)
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
