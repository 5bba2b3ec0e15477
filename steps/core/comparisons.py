"""The tests of the gate: two models on the same items, task by task, in words and numbers."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from steps.core.artifacts import Comparison
from steps.core.shards import read_lines
from steps.core.statistics import PairedChange, holm, items_to_decide, paired_change

Answer = Literal["pass", "fail", "undecided"]


class Pair(NamedTuple):
    """One item under both models; the change is `candidate - other` in nats/token."""

    item: str
    document: str
    change: float


class Demands(NamedTuple):
    """What a task must bring to be judged, and how strictly it is."""

    level: float
    min_items: int
    min_documents: int

    def unmet(self, change: PairedChange) -> str:
        """Why a task cannot be judged; empty when it can."""
        if change.num_items < self.min_items:
            return f"too few items: wanted {self.min_items:,}, found {change.num_items:,}"
        if change.num_documents < self.min_documents:
            return f"too few documents: wanted {self.min_documents:,}, found {change.num_documents:,}"
        return ""


def item_changes(candidate: Path, other: Path, part: str, against: str) -> dict[str, list[Pair]]:
    """The items of a part by task, paired; the files are the `items.jsonl` of two reports.

    Raises:
        ValueError: the reports do not score the same items, or not in the same tokens.
    """
    new, old = (
        {(row["task"], row["id"]): row for row in read_lines(path) if row["part"] == part}
        for path in (candidate, other)
    )
    if new.keys() != old.keys():
        task, item = min(new.keys() ^ old.keys())
        where = "candidate" if (task, item) in new else against
        raise ValueError(
            f"{task}: item {item} is scored for the {where} alone; evaluate both the candidate and "
            f"the {against} on this hold-out"
        )
    found: dict[str, list[Pair]] = {}
    for (task, item), row in sorted(new.items()):
        tokens = old[task, item]["tokens"]
        if tokens != row["tokens"]:
            raise ValueError(
                f"{task}: item {item} has {row['tokens']} tokens for the candidate and {tokens} for the {against}; "
                "losses per token compare only under one tokenizer"
            )
        change = (row["nats"] - old[task, item]["nats"]) / tokens
        found.setdefault(task, []).append(Pair(item, row["document"], change))
    return found


def paired_tasks(changes: Mapping[str, Sequence[Pair]], draws: int, seed: int) -> dict[str, PairedChange]:
    """The paired change of each task; one with a single document, which has no spread, is left out."""
    return {
        task: paired_change([pair.change for pair in pairs], [pair.document for pair in pairs], draws, seed)
        for task, pairs in sorted(changes.items())
        if len({pair.document for pair in pairs}) > 1
    }


def not_worse(
    paired: Mapping[str, PairedChange], margins: Mapping[str, float], demands: Demands, against: str
) -> list[Comparison]:
    """Non-inferiority: each task passes at `level`, and fails where its harm stands up to Holm over the tasks."""
    enough = [task for task, change in paired.items() if not demands.unmet(change)]
    harmed = holm({task: paired[task].p_above(margins[task]) for task in enough}, demands.level)
    found = []
    for task, change in paired.items():
        margin, outcome = margins[task], _undecided()
        p_value = change.p_below(margin)
        if words := demands.unmet(change):
            pass
        elif p_value < demands.level:
            gained = "better, and " if change.interval()[1] < 0 else ""
            outcome, words = "pass", f"{gained}within the margin of {margin:.3f} ({_p(p_value)})"
        elif task in harmed:
            harm = change.p_above(margin)
            outcome, words = "fail", f"worse by more than the margin of {margin:.3f} ({_p(harm)})"
        else:
            level = demands.level if change.mean < margin else demands.level / len(enough)
            words = f"undecided at the margin of {margin:.3f} ({_p(p_value)}); {_more(change, margin, level, margin)}"
        found.append(_comparison(task, against, "non-inferiority", outcome, change, margin, p_value, words))
    return found


def better(
    paired: Mapping[str, PairedChange], margins: Mapping[str, float], demands: Demands, against: str
) -> list[Comparison]:
    """Superiority by Holm over the tasks; a task fails where its whole interval lies above zero."""
    enough = [task for task, change in paired.items() if not demands.unmet(change)]
    gained = holm({task: paired[task].p_below(0.0) for task in enough}, demands.level)
    found = []
    for task, change in paired.items():
        p_value, outcome = change.p_below(0.0), _undecided()
        if words := demands.unmet(change):
            pass
        elif task in gained:
            outcome, words = "pass", f"a gain ({_p(p_value)})"
        elif change.interval()[0] > 0:
            outcome, words = "fail", f"a loss, not a gain ({_p(p_value)})"
        else:
            more = _more(change, 0.0, demands.level / len(enough), margins[task])
            words = f"no gain shown ({_p(p_value)}); {more}"
        found.append(_comparison(task, against, "superiority", outcome, change, 0.0, p_value, words))
    return found


def _undecided() -> Answer:
    return "undecided"


def _more(change: PairedChange, bound: float, level: float, margin: float) -> str:
    wanted = items_to_decide(change.mean, change.spread, bound, level, margin)
    if wanted is None:
        return "too close for more items to decide"
    more = max(1, wanted - change.num_items)
    return f"about {more:,} more item{'s' * (more > 1)} like these would decide"


def _p(p_value: float) -> str:
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def _signed(nats: float) -> str:
    return f"{round(nats, 3) + 0.0:+.3f}".replace("-", "−")


def _comparison(
    task: str,
    against: str,
    kind: Literal["non-inferiority", "superiority"],
    outcome: Answer,
    change: PairedChange,
    margin: float,
    p_value: float,
    words: str,
) -> Comparison:
    low, high = change.interval()
    where = f"{task} (fresh)" if kind == "superiority" else task
    numbers = f"{_signed(change.mean)} nats/token [{_signed(low)}, {_signed(high)}]"
    return Comparison(
        task=task,
        against=against,
        kind=kind,
        outcome=outcome,
        change_nats=change.mean,
        low_nats=low,
        high_nats=high,
        margin_nats=margin,
        p_value=p_value,
        num_items=change.num_items,
        num_documents=change.num_documents,
        reason=f"{where}: loss changed by {numbers} against the {against}: {words}",
    )
