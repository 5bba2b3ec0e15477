"""Every rule's verdict on single documents: also of the rules after the one that drops it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from steps.core.documents import Document, Item
from steps.core.index import OpenIndex
from steps.core.minhash import clusters
from steps.core.texts import Texts
from steps.curation.chain import Chain, Fate, judge, named
from steps.curation.excerpts import explained
from steps.methods.decontaminate import Decontaminate
from steps.methods.dedup import Dedup
from steps.methods.privacy import masked
from steps.methods.quality import Judgement, Quality

NUM_PLACES = 10  # of private data that are listed
Word = Literal["pass", "edit", "drop", "unknown"]


class Told(NamedTuple):
    """What a rule says of a document."""

    rule: str
    verdict: Word
    reason: str = ""  # its code, or what was edited, or why nothing can be told
    found: float | None = None
    limit: float | None = None
    at: tuple[int, int] | None = None  # characters [begin, end) of the text as the rules before left it
    excerpt: tuple[str, str, str] | None = None  # before, the part, after; private data is masked
    of: str | None = None  # the key or item that says the same


@dataclass(frozen=True)
class Known:
    """What there is to compare with; where something is missing, its rule says so."""

    learned: Path | None = None
    items: Sequence[Item] = ()  # held out
    index: Sequence[Path] | None = None


def explain(
    chain: Chain, decontaminate: Decontaminate, dedup: Dedup, documents: Sequence[Document], known: Known
) -> list[list[Told]]:
    """For each document what each rule says of it, on the text as the rules before left it."""
    now, told = list(documents), [list[Told]() for _ in documents]
    _add(told, _known(documents, known.index))
    for name, repair in zip(named("repair", chain.repair), chain.repair, strict=True):
        _apply(chain, Chain(repair=(repair,), quality=(), privacy=()), name, now, told)
    for name, rule in zip(named("quality", chain.quality), chain.quality, strict=True):
        learns = type(rule).learn is not Quality.learn
        if learns and (known.learned is None or not (known.learned / name).is_dir()):
            _add(told, [Told(name, "unknown", "it has learned nothing here yet; make clean for this task first")])
            continue
        found = rule.judge(Texts([document.text for document in now]), (known.learned or Path()) / name)
        for row, judgement in enumerate(found):
            told[row].append(_told(chain, name, now[row], judgement))
            if judgement.text is not None and not judgement.reason and not now[row].messages:
                now[row] = now[row].model_copy(update={"text": judgement.text})
    for name, privacy in zip(named("privacy", chain.privacy), chain.privacy, strict=True):
        _apply(chain, Chain(repair=(), quality=(), privacy=(privacy,)), name, now, told)
    texts = Texts([document.text for document in now])
    _add(told, _contaminated(decontaminate, texts, known.items))
    _add(told, _twins(dedup, texts, now, known.index))
    return told


def kept(told: Sequence[Told]) -> str:
    """The reason that counts: that of the first rule to drop the document; empty: none does."""
    return next((one.reason for one in told if one.verdict == "drop"), "")


def _apply(chain: Chain, alone: Chain, name: str, now: list[Document], told: list[list[Told]]) -> None:
    """A repair or a privacy rule by itself, one document at a time, so that its changes are this document's."""
    for row, document in enumerate(now):
        judged = judge(alone, [document], Path())
        (fate,) = judged.fates
        if fate.rule:
            told[row].append(_told(chain, name, document, fate.judgement))
            continue
        places = [match for guard in alone.privacy for match in guard.find([document.text])[0]]
        changes = [f"{match.kind} at {match.begin:,} to {match.end:,}" for match in places]
        changes = changes or [f"{name.rpartition(': ')[2]} × {n:,}" for name, n in sorted(judged.changes.items()) if n]
        changed = fate.document.text != document.text
        told[row].append(Told(name, "edit" if changed else "pass", _list(changes)))
        now[row] = fate.document


def _told(chain: Chain, name: str, document: Document, judgement: Judgement) -> Told:
    word: Word = "drop" if judgement.reason else "pass"
    reason, excerpt = judgement.reason, None
    if not judgement.reason and judgement.text is not None and judgement.text != document.text:
        lost = len(document.text) - len(judgement.text)
        word, reason = "edit", f"{lost:,} characters out" if lost >= 0 else f"{-lost:,} characters in"
    if judgement.reason or judgement.span:
        (row,) = explained(chain, [Fate(document, name, judgement)])
        before, part, after = row["excerpt"]
        excerpt = (before, part, after)
    return Told(name, word, reason, judgement.found, judgement.limit, judgement.span, excerpt)


def _list(words: Sequence[str]) -> str:
    more = f" and {len(words) - NUM_PLACES:,} more" if len(words) > NUM_PLACES else ""
    return ", ".join(words[:NUM_PLACES]) + more


def _add(told: list[list[Told]], verdicts: Sequence[Told]) -> None:
    """A verdict for each document, or one for all."""
    for row, own in enumerate(told):
        own.append(verdicts[row] if len(verdicts) == len(told) else verdicts[0])


def _known(documents: Sequence[Document], index: Sequence[Path] | None) -> list[Told]:
    """Whether just this text was kept before, under this key or another."""
    if not index:
        return [Told("known", "unknown", "there is no index here yet")] * len(documents)
    owners = OpenIndex(list(index)).owners([document.content_hash for document in documents])
    return [
        Told("known", "pass")
        if owner is None
        else Told("known", "drop", "unchanged" if owner == document.key else "duplicate", of=owner)
        for owner, document in zip(owners, documents, strict=True)
    ]


def _contaminated(method: Decontaminate, texts: Texts, items: Sequence[Item]) -> list[Told]:
    if not items:
        return [Told("decontaminate", "unknown", "no hold-out items here yet; make split first")] * len(texts)
    grams = method.grams_of(items)
    found = method.verdicts([method.hits(texts, grams)], [len(texts)], grams)
    return [
        Told("decontaminate", "drop", "contains-holdout", of=found[row])
        if row in found
        else Told("decontaminate", "pass")
        for row in range(len(texts))
    ]


def _twins(method: Dedup, texts: Texts, documents: Sequence[Document], index: Sequence[Path] | None) -> list[Told]:
    """Whether a document is nearly the same as one before it in the file, or as one that was kept."""
    bands = method.sign(texts)
    labels: Mapping[int, int] = dict(enumerate(np.asarray(clusters(bands)).tolist()))
    near: Sequence[str | None] = OpenIndex(list(index)).near(bands) if index else [None] * len(texts)
    note = "" if index else "within this file only"
    verdicts = []
    for row, document in enumerate(documents):
        twin = near[row] if near[row] is not None else documents[labels[row]].key if labels[row] != row else None
        same = twin is not None and twin != document.key
        verdicts.append(Told("dedup", "drop", "near-duplicate", of=twin) if same else Told("dedup", "pass", note))
    return verdicts


def as_row(told: Told) -> dict[str, Any]:
    """A verdict as a plain value, masked; what is absent is left out."""
    row = told._replace(of=masked(told.of) if told.of else None)._asdict()
    return {name: value for name, value in row.items() if value is not None and value != ""}
