"""What a report and the batch rules know of a task: where its records went, how long they are, in which languages."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from steps.core.artifacts import Frozen
from steps.core.documents import Document
from steps.core.languages import UNKNOWN, identify
from steps.core.records import FREE, HELD, SUPERSEDED
from steps.curation.chain import Passage
from steps.curation.look import Look

if TYPE_CHECKING:
    from steps.curation.sweep import Swept

SAMPLE = 500  # documents of a task whose language is told, about: shares to 2 %, in a tenth of a second
SURE = 0.5  # probability under which a language is not told: names and noise are no news
_HASHES = 2**32


class Figures(Frozen):
    """A task's documents in a few numbers, to be compared with those of the next refresh."""

    documents: int = Field(description="documents that landed, the newest of each key, held out or not")
    judged: int = Field(description="of them the new ones, which went through the rules")
    median_characters: float = Field(description="of those documents, as they landed")
    share_dropped: float = Field(description="of the new documents, what rules and contamination dropped, 0..1")
    languages: dict[str, float] = Field(description="shares of a sample of the new documents, by code, sum 1")


def share_to_sample(num_documents: int) -> float:
    """The share of a task's documents whose language is told, 0..1."""
    return min(1.0, SAMPLE / max(1, num_documents))


def languages_of(documents: Sequence[Document], share: float) -> dict[int, str]:
    """The language of a sample of documents, by row; a document's content decides whether it is in the sample."""
    rows = [row for row, one in enumerate(documents) if int(one.content_hash[:8], 16) < share * _HASHES]
    guesses = identify([documents[row].text for row in rows])
    return {row: code if score >= SURE else UNKNOWN for row, (code, score) in zip(rows, guesses, strict=True)}


def figures_of(seen: Look, states: np.ndarray, known: Mapping[int, Any], swept: "Swept") -> Figures:
    """What the batch rules compare."""
    lengths = seen.lengths[states != SUPERSEDED]
    judged = int((states == FREE).sum()) - len(known)
    fit = swept.num_fit - len(swept.contaminated)
    told = swept.languages_seen
    return Figures(
        documents=len(lengths),
        judged=judged,
        median_characters=float(np.median(lengths)) if len(lengths) else 0.0,
        share_dropped=round(1 - fit / judged, 6) if judged else 0.0,
        languages={code: round(count / told.total(), 6) for code, count in sorted(told.items())},
    )


def statistics_of(
    seen: Look, states: np.ndarray, known: Mapping[int, tuple[str, str]], swept: "Swept", places: Sequence[int]
) -> dict[str, Any]:
    """What a report shows beside the rules' own counts; `places` are those of the documents kept among the fit.

    `before` counts what came before the rules took something, in records and characters; `lengths` has documents by
    the power of two that their characters reach, `languages` those of the sample, both before any rule and kept.
    """
    reasons: dict[str, list[int]] = {}
    for row, (reason, _) in known.items():
        reasons.setdefault(reason, []).append(row)
    new = states == FREE
    new[list(known)] = False
    lost = [("superseded", states == SUPERSEDED), ("held out", states == HELD), *sorted(reasons.items())]
    before = [Passage("documents", len(states), int(seen.lengths.sum()))]
    for name, rows in lost:
        lengths = seen.lengths[rows]
        before.append(Passage(name, before[-1].documents - len(lengths), before[-1].characters - int(lengths.sum())))
    kept = np.asarray(places, dtype=np.int64)
    told = swept.languages
    return {
        "before": [one._asdict() for one in before],
        "lengths": {"before": _binned(seen.lengths[new]), "kept": _binned(swept.lengths[kept])},
        "languages": {
            "before": dict(sorted(swept.languages_seen.items())),
            "kept": dict(sorted(Counter(told[place] for place in kept.tolist() if place in told).items())),
        },
    }


def _binned(lengths: np.ndarray) -> dict[str, int]:
    """How many lengths lie in [2^k, 2^(k+1)), by k; those of nothing are in the first."""
    exponents = np.frexp(np.maximum(lengths, 1).astype(np.float64))[1] - 1
    values, counts = np.unique(exponents, return_counts=True)
    return {str(value): count for value, count in zip(values.tolist(), counts.tolist(), strict=True)}
