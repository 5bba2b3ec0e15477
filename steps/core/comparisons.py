"""The tests of the gate: two models on the same items, task by task and suite by suite, in words and numbers."""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal, NamedTuple

from steps.core.artifacts import Comparison
from steps.core.proportions import POINTS, paired_answers
from steps.core.shards import read_lines
from steps.core.statistics import Clusters, PairedChange, group_change, holm, items_to_decide, paired_change

Answer = Literal["pass", "fail", "undecided"]
Unit = Literal["nats", "points"]
Scope = Literal["task", "suite", "group"]
Part = Literal["anchor", "fresh", "recent"]
NO_GAIN = -1  # the hypothesis that some fresh task did not lose, beside the numbered ones


class Pair(NamedTuple):
    """One item under both models; the change is `candidate - other` in nats/token, or points of a score lost."""

    item: str
    document: str
    change: float
    before: float = 0.0  # the other's score of a question, 0..1


class Demands(NamedTuple):
    """What a task must bring to be judged, and how strictly it is."""

    level: float
    min_items: int
    min_documents: int
    min_questions: int = 30  # of a suite, instead of items and documents

    def unmet(self, asked: "Asked") -> str:
        """Why a task cannot be judged; empty when it can."""
        change, floor = asked.change, asked.floor
        if asked.scope == "suite":
            few = change.num_documents < self.min_questions
            return f"too few questions: wanted {self.min_questions:,}, found {change.num_documents:,}" if few else ""
        items, documents = (max(2, round(least / floor**2)) for least in (self.min_items, self.min_documents))
        if change.num_items < items:
            return f"too few items: wanted {items:,}, found {change.num_items:,}"
        if change.num_documents < documents:
            return f"too few documents: wanted {documents:,}, found {change.num_documents:,}"
        return ""


class Asked(NamedTuple):
    """One question to the tests: what changed, against whom, and how much of it is allowed."""

    name: str
    against: str
    change: PairedChange
    margin: float
    scope: Scope = "task"
    part: Part = "anchor"
    floor: float = 1.0  # margins; a looser one is as sure with fewer items, as the square of it

    @property
    def unit(self) -> Unit:
        """What the change is counted in."""
        return "points" if self.scope == "suite" else "nats"

    @property
    def place(self) -> str:
        """What is judged, for a person."""
        beside = "group" if self.scope == "group" else "" if self.part == "anchor" else self.part
        return f"{self.name} ({beside})" if beside else self.name


def item_changes(candidate: Path, other: Path, part: str, against: str) -> dict[str, list[Pair]]:
    """The items of a part by task, paired; the files are the `items.jsonl` of two reports.

    Raises:
        ValueError: the reports do not score the same items, or not in the same tokens.
    """
    found: dict[str, list[Pair]] = {}
    for (task, item), (row, old) in _both(candidate, other, "task", against, {"part": part}).items():
        if old["tokens"] != row["tokens"]:
            raise ValueError(
                f"{task}: item {item} has {row['tokens']} tokens for the candidate and {old['tokens']} for the "
                f"{against}; losses per token compare only under one tokenizer"
            )
        change = (row["nats"] - old["nats"]) / row["tokens"]
        found.setdefault(task, []).append(Pair(item, row["document"], change))
    return found


def suite_changes(candidate: Path, other: Path, against: str) -> dict[str, list[Pair]]:
    """The questions of every suite that both reports asked, paired; the files are their `suites.jsonl`.

    Raises:
        ValueError: the reports do not ask the same questions of a suite.
    """
    if not (candidate.exists() and other.exists()):
        return {}
    asked = [{row["suite"] for row in read_lines(path)} for path in (candidate, other)]
    found: dict[str, list[Pair]] = {}
    for suite in sorted(asked[0] & asked[1]):
        for (_, item), (row, old) in _both(candidate, other, "suite", against, {"suite": suite}).items():
            change = POINTS * (old["score"] - row["score"])
            found.setdefault(suite, []).append(Pair(item, row.get("document", item), change, old["score"]))
    return found


def _both(
    candidate: Path, other: Path, by: str, against: str, only: Mapping[str, str]
) -> dict[tuple[str, str], tuple[dict[str, Any], dict[str, Any]]]:
    new, old = (
        {(row[by], row["id"]): row for row in read_lines(path) if only.items() <= row.items()}
        for path in (candidate, other)
    )
    if new.keys() != old.keys():
        name, item = min(new.keys() ^ old.keys())
        where = "candidate" if (name, item) in new else against
        raise ValueError(
            f"{name}: item {item} is scored for the {where} alone; evaluate both the candidate and "
            f"the {against} on this hold-out"
        )
    return {key: (new[key], old[key]) for key in sorted(new)}


def paired_tasks(changes: Mapping[str, Sequence[Pair]], draws: int, seed: int) -> dict[str, PairedChange]:
    """The paired change of each task; one with a single document, which has no spread, is left out."""
    return {task: paired_change(*_columns(pairs), draws, seed) for task, pairs in _several(changes).items()}


def paired_suites(changes: Mapping[str, Sequence[Pair]], draws: int, seed: int) -> dict[str, PairedChange]:
    """The paired change of each suite, in points; one with a single document is left out."""
    return {suite: paired_answers(*_columns(pairs), draws, seed) for suite, pairs in _several(changes).items()}


def paired_groups(
    changes: Mapping[str, Sequence[Pair]], groups: Mapping[str, Sequence[str]], draws: int, seed: int
) -> dict[str, PairedChange]:
    """The mean of the paired changes of each group's tasks."""
    several = _several(changes)
    members = {name: [several[task] for task in tasks if task in several] for name, tasks in groups.items()}
    return {
        name: group_change([Clusters.of(*_columns(pairs)) for pairs in found], draws, seed)
        for name, found in members.items()
        if found
    }


def _several(changes: Mapping[str, Sequence[Pair]]) -> dict[str, Sequence[Pair]]:
    return {name: pairs for name, pairs in sorted(changes.items()) if len({pair.document for pair in pairs}) > 1}


def _columns(pairs: Sequence[Pair]) -> tuple[list[float], list[str]]:
    return [pair.change for pair in pairs], [pair.document for pair in pairs]


def judge(held: Sequence[Asked], fresh: Sequence[Asked], demands: Demands) -> list[Comparison]:
    """Non-inferiority of all that is held, superiority of what is fresh; the level is that of the whole decision.

    Each of `held` passes at `level` (all must, so none is corrected). What fails does so by Holm over everything that
    may fail: each of `held` where it is worse by more than its margin, and the fresh tasks, together, where all lost.
    One of `fresh` shows a gain by Holm over the fresh tasks.
    """
    able = [number for number, asked in enumerate(held) if not demands.unmet(asked)]
    harm = {number: held[number].change.p_above(held[number].margin) for number in able}
    if fresh and not any(demands.unmet(asked) for asked in fresh):
        harm[NO_GAIN] = max(asked.change.p_above(0.0) for asked in fresh)
    fallen = holm({str(number): p_value for number, p_value in harm.items()}, demands.level)
    strict = demands.level / max(1, len(harm))
    judged = [_not_worse(asked, demands, strict, harmed=str(number) in fallen) for number, asked in enumerate(held)]
    able = [number for number, asked in enumerate(fresh) if not demands.unmet(asked)]
    gains = holm({str(number): fresh[number].change.p_below(0.0) for number in able}, demands.level)
    share = demands.level / max(1, len(able))
    for number, asked in enumerate(fresh):
        gained = str(number) in gains
        judged.append(_better(asked, demands, share, gained=gained, lost=str(NO_GAIN) in fallen))
    return judged


def decide(found: Sequence[Comparison], required: Sequence[str] = (), *, complete: bool = True, gain: bool) -> Answer:
    """Fail where anything failed; pass where all hold and, if wanted, one gained.

    A suite that is not required may fail a candidate, and cannot hold it up.
    """
    if any(each.outcome == "fail" for each in found):
        return "fail"
    waiting = [each for each in found if each.kind == "non-inferiority" and each.outcome == "undecided"]
    waits = any(
        each.scope != "suite" or any(fnmatchcase(each.task, pattern) for pattern in required) for each in waiting
    )
    gained = any(each.kind == "superiority" and each.outcome == "pass" for each in found)
    return "pass" if complete and not waits and (gained or not gain) else "undecided"


def _not_worse(asked: Asked, demands: Demands, strict: float, *, harmed: bool) -> Comparison:
    change, margin = asked.change, asked.margin
    p_value, shown, more = change.p_below(margin), _amount(margin, asked.unit), None
    outcome: Answer = "undecided"
    power = change.power(margin, demands.level)
    what = f"margin of {shown}" if asked.floor == 1 else f"floor of {shown}"
    if words := demands.unmet(asked):
        power = 0.0
    elif p_value < demands.level:
        outcome = "pass"
        words = f"{'better, and ' if change.interval()[1] < 0 else ''}within the {what} ({_p(p_value)})"
    elif harmed:
        outcome, words = "fail", f"worse by more than the {what} ({_p(change.p_above(margin))})"
    else:
        level = demands.level if change.mean < margin else strict
        more = _more(change, margin, level, margin)
        words = f"undecided at the {what} ({_p(p_value)}); {_told(more)}"
    return _comparison(asked, "non-inferiority", outcome, p_value, words, power=power, more_items=more)


def _better(asked: Asked, demands: Demands, share: float, *, gained: bool, lost: bool) -> Comparison:
    change, p_value, more = asked.change, asked.change.p_below(0.0), None
    outcome: Answer = "undecided"
    if words := demands.unmet(asked):
        pass
    elif gained:
        outcome, words = "pass", f"a gain ({_p(p_value)})"
    elif lost:
        outcome, words = "fail", f"a loss, not a gain ({_p(p_value)})"
    elif change.interval()[0] > 0:
        words = f"a loss, not a gain ({_p(p_value)})"
    else:
        more = _more(change, 0.0, share, asked.margin)
        words = f"no gain shown ({_p(p_value)}); {_told(more)}"
    return _comparison(asked._replace(margin=0.0), "superiority", outcome, p_value, words, more_items=more)


def must_hold(suite: str, pairs: Sequence[Pair], against: str) -> Comparison:
    """Every question of a suite that was right must be right: one that is lost fails."""
    right = [pair for pair in pairs if pair.before >= 1]
    lost = [pair.item for pair in right if pair.change > 0]
    mean = sum(pair.change for pair in pairs) / len(pairs)
    words = f"{suite}: all {len(right):,} answers that were right under the {against} still are"
    if lost:
        named = ", ".join(lost[:3]) + (f" and {len(lost) - 3} more" if len(lost) > 3 else "")
        words = (
            f"{suite}: {len(lost):,} of {len(right):,} answers that were right under the {against} are lost: {named}"
        )
    elif not right:
        words = f"{suite}: none of its {len(pairs):,} answers was right under the {against}, so none could be lost"
    return Comparison(
        task=suite,
        scope="suite",
        against=against,
        kind="must-hold",
        outcome="fail" if lost else "pass",
        unit="points",
        change=mean,
        low=mean,
        high=mean,
        margin=0.0,
        p_value=0.0 if lost else 1.0,
        num_items=len(pairs),
        num_documents=len({pair.document for pair in pairs}),
        reason=words,
    )


def _more(change: PairedChange, bound: float, level: float, margin: float) -> int | None:
    wanted = items_to_decide(change.mean, change.spread_at(bound), bound, level, margin)
    return None if wanted is None else max(1, wanted - change.num_items)


def _told(more: int | None) -> str:
    if more is None:
        return "too close for more items to decide"
    return f"about {more:,} more item{'s' * (more > 1)} like these would decide"


def _p(p_value: float) -> str:
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def _amount(size: float, unit: Unit) -> str:
    return f"{size:.3f}" if unit == "nats" else f"{size:.1f} points"


def _signed(size: float, unit: Unit) -> str:
    digits = 3 if unit == "nats" else 1
    return f"{round(size, digits) + 0.0:+.{digits}f}".replace("-", "−")


def _comparison(
    asked: Asked,
    kind: Literal["non-inferiority", "superiority"],
    outcome: Answer,
    p_value: float,
    words: str,
    *,
    power: float | None = None,
    more_items: int | None = None,
) -> Comparison:
    change = asked.change
    low, high = change.interval()
    ends = (change.mean, low, high) if asked.unit == "nats" else (-change.mean, -high, -low)
    mean, left, right = (_signed(end, asked.unit) for end in ends)
    what = f"loss changed by {mean} nats/token" if asked.unit == "nats" else f"score changed by {mean} points"
    return Comparison(
        task=asked.name,
        scope=asked.scope,
        against=asked.against,
        kind=kind,
        outcome=outcome,
        part=asked.part,
        unit=asked.unit,
        change=change.mean,
        low=low,
        high=high,
        margin=asked.margin,
        p_value=p_value,
        power=power,
        num_items=change.num_items,
        num_documents=change.num_documents,
        more_items=more_items,
        reason=f"{asked.place}: {what} [{left}, {right}] against the {asked.against}: {words}",
    )
