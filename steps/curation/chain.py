"""What clean does to a batch of documents, in order: repair, quality rules, privacy.

Labelled records pass through the same rules: each message is mended and masked by itself, the rules judge all of them
joined, and a rule's edits of the text are left out, since they would cut through turns.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, NamedTuple, Self

from pydantic import BeforeValidator, Field, SerializeAsAny

from steps.core.artifacts import Frozen
from steps.core.documents import Document, Message, joined
from steps.core.method import Method, from_recipe
from steps.core.texts import Texts
from steps.methods.privacy import Found, Privacy, mask
from steps.methods.quality import FIT, Judgement, Quality
from steps.methods.repair import Repair


def _each(slot: str) -> Callable[[Any], Any]:
    build = from_recipe(slot)
    return lambda value: tuple(build(one) for one in value) if isinstance(value, list | tuple) else value


def _rules(slot: str, *names: str) -> Callable[[], Any]:
    return lambda: tuple(from_recipe(slot)({"method": name}) for name in names)


class Chain(Frozen):
    """The rules, in the order in which they apply."""

    repair: Annotated[tuple[SerializeAsAny[Repair], ...], BeforeValidator(_each("repair"))] = Field(
        default_factory=_rules("repair"), description="how texts are mended first"
    )
    quality: Annotated[tuple[SerializeAsAny[Quality], ...], BeforeValidator(_each("quality"))] = Field(
        default_factory=_rules("quality", "basic"), description="the rules that drop documents or parts of them"
    )
    privacy: Annotated[tuple[SerializeAsAny[Privacy], ...], BeforeValidator(_each("privacy"))] = Field(
        default_factory=_rules("privacy", "patterns"), description="what personal data is looked for"
    )

    def pinned(self, root: Path) -> Self:
        """The same rules, with the digests of what they read in the workspace among their knobs."""
        return self.model_copy(update={"repair": tuple(repair.pinned(root) for repair in self.repair)})

    def located(self, root: Path, device: str) -> Self:
        """The same rules, which know where the workspace lies and what to compute on."""
        return self.model_copy(update={"repair": tuple(repair.located(root, device) for repair in self.repair)})


class Passage(NamedTuple):
    """What is left after a rule."""

    rule: str
    documents: int
    characters: int


@dataclass(slots=True)
class Fate:
    """What becomes of one document."""

    document: Document
    rule: str = ""  # the one that drops it; empty: it is fit so far
    judgement: Judgement = FIT


@dataclass(slots=True)
class Judged:
    """What becomes of a batch."""

    fates: list[Fate]
    passages: list[Passage] = field(default_factory=list)
    changes: Counter[str] = field(default_factory=Counter)  # repairs and masks, by `rule: kind`, in occurrences

    @property
    def fit(self) -> list[int]:
        """The rows of the documents that no rule dropped."""
        return [row for row, fate in enumerate(self.fates) if not fate.rule]

    def note(self, rule: str) -> None:
        """Count what a rule left."""
        left = [len(self.fates[row].document.text) for row in self.fit]
        self.passages.append(Passage(rule, len(left), sum(left)))


def name_of(slot: str, place: int, method: Method) -> str:
    """A rule as reports call it: `quality/c4`; a second one of the same method has its place added."""
    return f"{slot}/{method.method_name()}" if place == 0 else f"{slot}/{method.method_name()}-{place + 1}"


def named(slot: str, methods: Sequence[Method]) -> list[str]:
    """The names of a slot's rules."""
    before: Counter[str] = Counter()
    found = []
    for method in methods:
        found.append(name_of(slot, before[method.method_name()], method))
        before[method.method_name()] += 1
    return found


def judge(chain: Chain, documents: Sequence[Document], learned: Path) -> Judged:
    """Put a batch through the rules; `learned` holds what they learned, each in a folder of its name."""
    judged = Judged([Fate(document) for document in documents])
    for name, repair in zip(named("repair", chain.repair), chain.repair, strict=True):
        _mend(judged, name, repair)
        judged.note(name)
    rows = judged.fit
    texts = Texts([judged.fates[row].document.text for row in rows])
    for name, rule in zip(named("quality", chain.quality), chain.quality, strict=True):
        edited = {}
        found = rule.judge(texts, learned / name)
        for place, judgement in enumerate(found):
            fate = judged.fates[rows[place]]
            if judgement.reason:
                fate.rule, fate.judgement = name, judgement
            elif judgement.text is not None and not fate.document.messages:
                edited[place] = judgement.text
                fate.document = fate.document.model_copy(update={"text": judgement.text})
        places = [place for place, judgement in enumerate(found) if not judgement.reason]
        rows = [rows[place] for place in places]
        texts = _after(texts, places, edited)
        judged.note(name)
    for name, privacy in zip(named("privacy", chain.privacy), chain.privacy, strict=True):
        _guard(judged, name, privacy)
        judged.note(name)
    return judged


def _after(texts: Texts, places: list[int], edited: dict[int, str]) -> Texts:
    """The texts that a rule left, as it left them."""
    if edited:
        return Texts([edited.get(place, texts.texts[place]) for place in places])
    return texts if len(places) == len(texts) else texts.take(places)


def _mend(judged: Judged, name: str, repair: Repair) -> None:
    """Mend every text, or every message, of the documents that are left."""
    rows = judged.fit
    parts = [part for row in rows for part in _parts(judged.fates[row].document)]
    mended = iter(repair.repair(parts))
    for row in rows:
        fate = judged.fates[row]
        own = [next(mended) for _ in _parts(fate.document)]
        for one in own:
            judged.changes.update({f"{name}: {kind}": count for kind, count in one.changes.items()})
        reason = next((one.reason for one in own if one.reason), "")
        if reason:
            fate.rule, fate.judgement = name, Judgement(reason)
        else:
            fate.document = _with(fate.document, [one.text for one in own])


def _guard(judged: Judged, name: str, privacy: Privacy) -> None:
    """Mask personal data, or drop what holds some."""
    rows = judged.fit
    parts = [part.text for row in rows for part in _parts(judged.fates[row].document)]
    found = iter(privacy.find(parts))
    for row in rows:
        fate = judged.fates[row]
        own: list[tuple[str, list[Found]]] = [(part.text, next(found)) for part in _parts(fate.document)]
        matches = [match for _, own_matches in own for match in own_matches]
        if not matches:
            continue
        judged.changes.update(f"{name}: {match.kind}" for match in matches)
        if privacy.action == "drop":
            fate.rule = name
            fate.judgement = Judgement(f"private-{matches[0].kind}", span=(matches[0].begin, matches[0].end))
        else:
            fate.document = _with(fate.document, [mask(text, own_matches) for text, own_matches in own])


def _parts(document: Document) -> list[Document]:
    """A document, or each message of a labelled one as a document."""
    if document.messages is None:
        return [document]
    return [document.model_copy(update={"text": one.content, "messages": None}) for one in document.messages]


def _with(document: Document, texts: list[str]) -> Document:
    """A document with other texts in its parts."""
    if document.messages is None:
        return document if texts[0] == document.text else document.model_copy(update={"text": texts[0]})
    turns = zip(document.messages, texts, strict=True)
    messages = tuple(Message(role=one.role, content=text) for one, text in turns)
    return document.model_copy(update={"text": joined(messages), "messages": messages})
