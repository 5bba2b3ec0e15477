"""Repair: a candidate that the gate failed is merged anew, as the recipe says, and judged once more."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.edge.stages import REPAIR
from steps.core.artifacts import History, Holdout, Model, Report, Trained, Verdict, Version
from steps.core.front import read_front
from steps.core.shards import digest_of
from steps.evaluate import evaluate
from steps.gate import gate
from steps.merge import merge

if TYPE_CHECKING:
    from pipelines.edge.session import Session

Judged = tuple[Model, Report, Verdict]


def repair(
    do: "Session",
    parent: Version,
    trained: Trained,
    holdout: Holdout,
    baseline: Report,
    references: Sequence[Report],
    candidate: Model,
    report: Report,
    verdict: Verdict,
) -> Judged:
    """The candidate as it is, unless the gate failed it and the recipe has a repair that is not failed too.

    One repair is tried, chosen on validation and judged once; there is no third judgement.
    """
    recipe = do.recipe
    with do.part(REPAIR):
        if recipe.repair is None or verdict.outcome != "fail":
            return candidate, report, verdict
        mended = do(merge, recipe.repair, parent.model, trained, holdout.validation)
        front = read_front(do.home.root / mended.path)
        rule = recipe.repair.rule.method_name()
        how = f"{front.say()} (chosen on validation)" if front else f"{rule} (as the recipe says)"
        if front and not front.within:
            return candidate, report, _with(verdict, [*verdict.reasons, f"not repaired: {front.say()}"])
        if mended.digest == candidate.digest:
            return candidate, report, _with(verdict, [*verdict.reasons, f"not repaired: {how} is the same model"])
        again = do(evaluate, recipe.evaluate, mended, holdout.gate)
        second = do(gate, recipe.gate, again, baseline, references, _once_more(parent.history), holdout.gate)
    if second.outcome == "fail":
        failed = [f"repaired: {reason}" for reason in _failures(second)]
        words = f"repair did not help: {how}; judged once more and failed at {_where(second)}"
        return candidate, report, _with(verdict, [*verdict.reasons, words, *failed])
    words = f"failed at {_where(verdict)}; repaired by {how}; judged once more"
    before = [f"before the repair: {reason}" for reason in _failures(verdict)]
    return mended, again, _with(second, [words, *second.reasons, *before])


def _once_more(history: History) -> History:
    """The history with the verdict that was just given: its items have been used for it."""
    digest = digest_of([history.digest, REPAIR])
    return history.model_copy(update={"digest": digest, "verdicts": history.verdicts + 1})


def _failures(verdict: Verdict) -> list[str]:
    return [each.reason for each in verdict.comparisons if each.outcome == "fail"]


def _where(verdict: Verdict) -> str:
    failed = [each for each in verdict.comparisons if each.outcome == "fail"]
    places = [f"{each.task}{' (fresh)' if each.kind == 'superiority' else ''}" for each in failed]
    return ", ".join(dict.fromkeys(places)) or "the gate"


def _with(verdict: Verdict, reasons: Sequence[str]) -> Verdict:
    """The same verdict with other words."""
    facts = {**verdict.model_dump(mode="json", exclude={"digest"}), "reasons": list(reasons)}
    return Verdict.model_validate({**facts, "digest": digest_of(facts)})
