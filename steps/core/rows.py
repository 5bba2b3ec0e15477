"""Documents as rows of tokens, and which of these carry loss.

Plain text is its tokens and the separator, and all of it carries loss. Of a labelled document (one with turns) only the
completions, the assistant's turns, carry loss. It is written
- `chat`: by the model's chat template, `prompt` and `completion` as user and assistant. A template with
  `{% generation %}` says itself what the assistant said. Else a turn is what the template adds to the turns before it
  and the assistant's heading; where the template writes these differently once a turn follows, that turn has no loss;
- `plain`: its turns one after the other, with the separator after each completion. Where two turns meet without white
  space a blank line stands between them, as in the document's text; before a completion it belongs to it, so that the
  model goes on from the prompt as it landed.

Where the tokens of what stands before a completion are not the first tokens of the whole, the parts are tokenised one
by one, as they would be when the model is asked. Templates bring their own special tokens: none is added.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
from jinja2 import TemplateError

from steps.core.changes import changed_spans, marked
from steps.core.documents import Document, Message
from steps.core.tokenizer import count_tokens, placed_tokens_of, tokens_of

if TYPE_CHECKING:  # transformers takes seconds to import
    from transformers import PreTrainedTokenizerBase

COMPLETIONS = frozenset({"completion", "assistant"})
CHAT_ROLES = {"prompt": "user", "completion": "assistant"}
TODAY = re.compile(r"""strftime_now\(\s*(['"])(.*?)\1\s*\)""")  # some templates write the day: the document's is meant
GENERATION = re.compile(r"\{%-?\s*generation\s*-?%\}")

NO_DAY = date(2000, 1, 1)

How = Literal["auto", "chat", "plain"]
Offsets = list[tuple[int, int]]


class Row(NamedTuple):
    """A document as L tokens."""

    tokens: np.ndarray  # int32 [L]
    carries: np.ndarray | None = None  # bool [L], which carry loss; none: plain text, all of it
    changed: np.ndarray | None = None  # bool [L], which an older version did not say; none: not asked


class Written(NamedTuple):
    """A document as text, before it is tokenised."""

    text: str
    spans: tuple[tuple[int, int], ...]  # of characters that carry loss
    is_control: bool = False  # special tokens in it are control, not text
    mask: list[int] | None = None  # of tokens that carry loss, where the template says so itself


def is_completion(message: Message) -> bool:
    """Whether a turn is what the model is to say."""
    return message.role in COMPLETIONS


def count_losses(tokenizer: "PreTrainedTokenizerBase", documents: Sequence[Document]) -> list[int]:
    """The tokens of each document that carry loss: of a labelled one those of its completions; none of a template's."""
    parts = [
        [turn.content for turn in document.messages if is_completion(turn)] if document.messages else [document.text]
        for document in documents
    ]
    counts = iter(count_tokens(tokenizer, [text for texts in parts for text in texts]))
    return [sum(next(counts) for _ in texts) for texts in parts]


class Writer:
    """Writes documents as rows.

    `end`: the separator; `how`: `auto` is `chat` where the tokenizer has a template; `older`: the versions, by key,
    against which what changed is marked, if it is to be.

    Raises:
        ValueError: `how` is `chat` and there is no template, or changes cannot be marked with this tokenizer.
    """

    def __init__(
        self,
        tokenizer: "PreTrainedTokenizerBase",
        end: int,
        how: How = "auto",
        older: Mapping[str, Document] | None = None,
    ) -> None:
        if how == "chat" and tokenizer.chat_template is None:
            raise ValueError(
                "mix.labelled: chat wants a chat template, the model's tokenizer has none; save one beside the model, "
                "or set mix.labelled to plain"
            )
        if older is not None and not tokenizer.is_fast:
            raise ValueError(
                f"mix.mark_changes: wanted a tokenizer that says where its tokens stand, found "
                f"{type(tokenizer).__name__}; save the model with its tokenizer.json, or set it to false"
            )
        self.tokenizer, self.end, self.older = tokenizer, end, older
        self.is_chat = how != "plain" and tokenizer.chat_template is not None
        self.told: Counter[str] = Counter()  # labelled documents that cannot be rows, and turns without loss, by why
        self._control: re.Pattern[str] | None = None
        self._template = ""
        if self.is_chat:
            self._template = tokenizer.get_chat_template()
            if "strftime_now(" in TODAY.sub("", self._template):
                raise ValueError(
                    "mix.labelled: the model's chat template writes the day of the run, in a form that cannot be set; "
                    "write its format into the call of strftime_now, or set mix.labelled to plain"
                )
            special = {str(token) for token in tokenizer.added_tokens_decoder.values() if token.special}
            special |= set(tokenizer.all_special_tokens)
            self._control = re.compile("|".join(map(re.escape, sorted(special)))) if special else None
        self._has_generation = tokenizer.is_fast and bool(GENERATION.search(self._template))

    def rows(self, documents: Sequence[Document]) -> list[Row | None]:
        """Each document as a row; none where it cannot be one, which is counted."""
        written = [self._written(document) for document in documents]
        self.told.update(why for why in written if isinstance(why, str))
        found: list[Row | None] = [None] * len(documents)
        for is_control in (False, True):
            group = [
                (place, text)
                for place, text in enumerate(written)
                if isinstance(text, Written) and text.is_control == is_control
            ]
            tokenised = self._tokenised([text for _, text in group], is_control)
            for (place, text), (tokens, carries, offsets) in zip(group, tokenised, strict=True):
                document = documents[place]
                found[place] = Row(
                    np.array(tokens, dtype=np.int32),
                    np.array(carries, dtype=bool) if document.messages else None,
                    None if self.older is None else marked(offsets, self._changes(document, text)),
                )
        return found

    def _written(self, document: Document) -> Written | str:
        """A document as text, or why it cannot be a row."""
        if not document.messages:
            return Written(document.text, ((0, len(document.text)),))
        if not self.is_chat:
            return _turn_by_turn(document.messages)
        if self._control and any(self._control.search(turn.content) for turn in document.messages):
            return "control-token"
        return self._by_template(document)

    def _by_template(self, document: Document) -> Written | str:
        turns = [
            {"role": CHAT_ROLES.get(turn.role, turn.role), "content": turn.content} for turn in document.messages or ()
        ]
        template = TODAY.sub(lambda call: repr(_day(document.time).strftime(call[2])), self._template)
        render = partial(self.tokenizer.apply_chat_template, chat_template=template)
        try:
            whole = render(turns, tokenize=False)
            if self._has_generation:
                mask = render(turns, return_dict=True, return_assistant_tokens_mask=True)["assistant_masks"]
                return Written(whole, (), True, mask) if any(mask) else "no-completion"
            spans = []
            for place, turn in enumerate(turns):
                if turn["role"] != "assistant":
                    continue
                before = render(turns[:place], tokenize=False, add_generation_prompt=True) if place else None
                after = render(turns[: place + 1], tokenize=False)
                if before and whole.startswith(before) and whole.startswith(after) and len(before) < len(after):
                    spans.append((len(before), len(after)))
                else:
                    self.told["turn-not-found"] += 1
        except TemplateError as error:
            raise ValueError(
                f"mix: {document.task}, {document.key}: the model's chat template refuses the turns: {error}; leave "
                "the document out, or set mix.labelled to plain"
            ) from error
        return Written(whole, tuple(spans), True) if spans else "no-completion"

    def _tokenised(self, texts: Sequence[Written], is_control: bool) -> Iterator[tuple[list[int], list[bool], Offsets]]:
        """Tokens, which of them carry loss, and the characters that they stand for (where changes are marked)."""
        cuts = [_cuts(written) for written in texts]
        starts = [written.text[:cut] for written, own in zip(texts, cuts, strict=True) for cut in own[1:]]
        encoded = self._encoded(starts, is_control)
        for written, own in zip(texts, cuts, strict=True):
            found = [next(encoded) for _ in own[1:]]
            tokens, offsets = found[-1]
            if written.mask is not None:
                yield tokens, list(map(bool, written.mask)), offsets
                continue
            if all(tokens[: len(first)] == first for first, _ in found):
                ends = [0, *(len(first) for first, _ in found)]
                parts = [(tokens[start:stop], offsets[start:stop]) for start, stop in pairwise(ends)]
            else:
                parts = list(self._encoded([written.text[start:stop] for start, stop in pairwise(own)], is_control))
                parts = [
                    (ids, [(cut + start, cut + stop) for start, stop in places])
                    for cut, (ids, places) in zip(own, parts, strict=False)
                ]
            yield self._joined(written, own, parts)

    def _joined(
        self, written: Written, cuts: Sequence[int], parts: Sequence[tuple[list[int], Offsets]]
    ) -> tuple[list[int], list[bool], Offsets]:
        """The parts between cuts in one; without a template each part that carries loss is ended."""
        tokens, carries, offsets = list[int](), list[bool](), Offsets()
        begins = {start for start, _ in written.spans}
        for cut, (ids, places) in zip(cuts, parts, strict=False):
            ended = cut in begins and not written.is_control
            tokens += [*ids, self.end] if ended else ids
            carries += [cut in begins] * (len(ids) + ended)
            offsets += [*places, (0, 0)] if ended else places
        return tokens, carries, offsets

    def _encoded(self, texts: Sequence[str], is_control: bool) -> Iterator[tuple[list[int], Offsets]]:
        if self.older is not None:
            return placed_tokens_of(self.tokenizer, texts, control=is_control)
        return ((tokens, []) for tokens in tokens_of(self.tokenizer, texts, control=is_control))

    def _changes(self, document: Document, written: Written) -> list[tuple[int, int]]:
        """What an older version did not say; nothing where there is none."""
        assert self.older is not None
        older = self.older.get(document.key)
        if older is None or older.content_hash == document.content_hash:
            return []
        before = self._written(older)
        return changed_spans(before.text if isinstance(before, Written) else older.text, written.text)


def _turn_by_turn(turns: Sequence[Message]) -> Written | str:
    text, spans = "", []
    for turn in turns:
        start = len(text)
        if text and turn.content and not (text[-1].isspace() or turn.content[0].isspace()):
            text += "\n\n"
        text += turn.content
        if is_completion(turn) and turn.content:
            spans.append((start, len(text)))
    return Written(text, tuple(spans)) if spans else "no-completion"


def _cuts(written: Written) -> list[int]:
    """Where what carries loss begins and ends, between the begin and the end of the text."""
    borders = {border for span in written.spans for border in span} - {0, len(written.text)}
    return [0, *sorted(borders), len(written.text)]


def _day(time: str) -> date:
    """The day of an ISO 8601 time, the first of its month or year where it says no more; else a fixed one."""
    year, month, day = (*time[:10].split("-"), "01", "01")[:3]
    try:
        return date(int(year), int(month), int(day))
    except ValueError:
        return NO_DAY
