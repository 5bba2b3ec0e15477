from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from steps.core.artifacts import GateItems, History, MatrixRow, Report, Score, SuiteScore, Verdict
from steps.core.shards import digest_of, read_lines, write_lines
from steps.core.workspace import Workspace
from steps.gate import GateConfig, gate
from tests.builders import build_workspace

NUM_ITEMS = 120
TOKENS = 50
CONFIG = GateConfig(bootstrap=400)
NO_HISTORY = History(digest="none")
ITEMS = GateItems(
    digest="items",
    path="data/split/gate",
    anchor={"docs": NUM_ITEMS, "general": NUM_ITEMS},
    fresh={"docs": NUM_ITEMS},
)
ALIKE = {("docs", "anchor"): 0.0, ("docs", "fresh"): 0.0, ("general", "anchor"): 0.0}
GAINED = {("docs", "anchor"): -0.1, ("docs", "fresh"): -0.2, ("general", "anchor"): 0.01}


def report(
    workspace: Workspace,
    name: str,
    shift: Mapping[tuple[str, str], float],
    noise: float = 0.08,
    num_items: int = NUM_ITEMS,
) -> Report:
    """Losses above those of a common base by a shift on average, each with a noise of its own."""
    chance = np.random.default_rng(int(digest_of(name)[:8], 16))
    rows, scores = [], {}
    for (task, part), mean in sorted(shift.items()):
        base = np.random.default_rng(7).normal(3.0, 0.5, num_items)
        drawn = chance.normal(0.0, noise, num_items)
        losses = base + mean + drawn - drawn.mean()
        rows += [
            {
                "id": f"{task}-{k}",
                "task": task,
                "part": part,
                "document": f"{task}/{k // 2}",
                "nats": float(loss) * TOKENS,
                "tokens": TOKENS,
                "bytes": 200,
            }
            for k, loss in enumerate(losses)
        ]
        scores[task, part] = Score(
            loss_nats_per_token=float(losses.mean()),
            bits_per_byte=1.0,
            num_items=num_items,
            num_documents=num_items // 2,
            num_tokens=num_items * TOKENS,
        )
    folder = workspace.root / "data" / "evaluate" / name
    write_lines(folder / "items.jsonl", rows)
    return Report(
        digest=digest_of(name),
        path=workspace.relative(folder),
        model=name,
        anchor={task: score for (task, part), score in scores.items() if part == "anchor"},
        fresh={task: score for (task, part), score in scores.items() if part == "fresh"},
        recent={task: score for (task, part), score in scores.items() if part == "recent"},
    )


def judge(
    workspace: Workspace,
    shift: Mapping[tuple[str, str], float],
    config: GateConfig = CONFIG,
    references: Sequence[Report] = (),
    history: History = NO_HISTORY,
    items: GateItems = ITEMS,
    noise: float = 0.08,
    num_items: int = NUM_ITEMS,
) -> Verdict:
    candidate = report(workspace, "candidate", shift, noise, num_items)
    baseline = report(workspace, "champion", dict.fromkeys(shift, 0.0), 0.0, num_items)
    return gate(workspace, config, candidate, baseline, references, history, items)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return build_workspace(tmp_path, "gate")


def test_a_gain_without_loss_passes(workspace: Workspace) -> None:
    verdict = judge(workspace, GAINED)
    assert verdict.outcome == "pass"
    assert [(each.task, each.kind, each.outcome) for each in verdict.comparisons] == [
        ("docs", "non-inferiority", "pass"),
        ("general", "non-inferiority", "pass"),
        ("docs", "superiority", "pass"),
    ]
    assert all(each.num_documents == NUM_ITEMS // 2 for each in verdict.comparisons)


def test_a_model_against_itself_is_not_worse_and_shows_no_gain(workspace: Workspace) -> None:
    champion = report(workspace, "champion", ALIKE)
    verdict = gate(workspace, CONFIG, champion, champion, [champion], NO_HISTORY, ITEMS)
    assert verdict.outcome == "undecided"
    outcomes = {(each.task, each.kind): each.outcome for each in verdict.comparisons}
    assert outcomes == {
        ("docs", "non-inferiority"): "pass",
        ("general", "non-inferiority"): "pass",
        ("docs", "superiority"): "undecided",
    }


def test_forgetting_general_text_fails_whatever_was_gained(workspace: Workspace) -> None:
    verdict = judge(workspace, {**GAINED, ("general", "anchor"): 0.2})
    assert verdict.outcome == "fail"
    assert verdict.reasons[0].startswith("general: loss changed by +0.")
    assert "worse by more than the margin of 0.050" in verdict.reasons[0]


def test_a_change_near_the_margin_is_undecided(workspace: Workspace) -> None:
    verdict = judge(workspace, {**GAINED, ("general", "anchor"): 0.045}, noise=0.15)
    assert verdict.outcome == "undecided"
    assert verdict.reasons[0].startswith("general: ")


def test_a_gain_may_be_waived(workspace: Workspace) -> None:
    verdict = judge(workspace, ALIKE, CONFIG.model_copy(update={"superiority": "not-required"}))
    assert verdict.outcome == "pass"
    assert {each.kind for each in verdict.comparisons} == {"non-inferiority"}


def test_a_loss_on_every_fresh_task_fails(workspace: Workspace) -> None:
    verdict = judge(workspace, {**GAINED, ("docs", "fresh"): 0.1})
    assert verdict.outcome == "fail"
    assert "a loss, not a gain" in verdict.reasons[0]


def test_one_gain_among_the_fresh_tasks_is_enough(workspace: Workspace) -> None:
    two = {**GAINED, ("news", "anchor"): 0.0, ("news", "fresh"): 0.0}
    anchor, fresh = {**ITEMS.anchor, "news": NUM_ITEMS}, {**ITEMS.fresh, "news": NUM_ITEMS}
    verdict = judge(workspace, two, items=ITEMS.model_copy(update={"anchor": anchor, "fresh": fresh}))
    assert verdict.outcome == "pass"
    assert any("news (fresh)" in reason and "no gain shown" in reason for reason in verdict.reasons)


def test_a_single_task_may_have_a_margin_of_its_own(workspace: Workspace) -> None:
    shift = {**GAINED, ("general", "anchor"): 0.12}
    assert judge(workspace, shift).outcome == "fail"
    assert judge(workspace, shift, GateConfig(bootstrap=400, margins={"general": 0.2})).outcome == "pass"


def test_small_losses_add_up_against_the_base(workspace: Workspace) -> None:
    shift = {**GAINED, ("general", "anchor"): 0.01}
    base = report(workspace, "base", {**ALIKE, ("general", "anchor"): -0.14})
    verdict = judge(workspace, shift, references=[base])
    assert judge(workspace, shift).outcome == "pass"
    assert verdict.outcome == "fail"
    assert "against the base: worse by more than the margin of 0.100" in verdict.reasons[0]


def test_a_reference_that_is_the_champion_or_named_twice_is_asked_once(workspace: Workspace) -> None:
    champion, base = report(workspace, "champion", ALIKE, noise=0.0), report(workspace, "base", ALIKE)
    found = judge(workspace, GAINED, references=[champion, base]).comparisons
    assert {each.against for each in found} == {"champion", "oldest accepted version"}
    found = judge(workspace, GAINED, references=[base, base]).comparisons
    assert {each.against for each in found} == {"champion", "base"}


def test_too_few_items_are_undecided(workspace: Workspace) -> None:
    verdict = judge(workspace, GAINED, num_items=80)
    assert verdict.outcome == "undecided"
    assert any(reason.endswith("too few items: wanted 100, found 80") for reason in verdict.reasons)


def test_too_few_documents_are_undecided(workspace: Workspace) -> None:
    verdict = judge(workspace, GAINED, CONFIG.model_copy(update={"min_documents": 61}))
    assert verdict.outcome == "undecided"
    assert any(reason.endswith("too few documents: wanted 61, found 60") for reason in verdict.reasons)


def test_a_task_without_items_is_undecided(workspace: Workspace) -> None:
    items = ITEMS.model_copy(update={"anchor": {**ITEMS.anchor, "news": 0}})
    verdict = judge(workspace, GAINED, items=items)
    assert verdict.outcome == "undecided"
    assert verdict.reasons[0] == "news: too few items: wanted 100 of 30 documents, found 0; hold out more"


def test_harm_elsewhere_fails_though_a_task_has_too_few_items(workspace: Workspace) -> None:
    items = ITEMS.model_copy(update={"anchor": {**ITEMS.anchor, "news": 0}})
    assert judge(workspace, {**GAINED, ("general", "anchor"): 0.2}, items=items).outcome == "fail"


def test_no_fresh_items_show_no_gain(workspace: Workspace) -> None:
    shift = {key: value for key, value in GAINED.items() if key[1] == "anchor"}
    verdict = judge(workspace, shift, items=ITEMS.model_copy(update={"fresh": {}}))
    assert verdict.outcome == "undecided"
    assert verdict.reasons[0].startswith("no fresh items: no gain can be shown")


def test_no_items_at_all_decide_nothing(workspace: Workspace) -> None:
    verdict = judge(workspace, {}, items=ITEMS.model_copy(update={"anchor": {}, "fresh": {}}))
    assert verdict.outcome == "undecided"
    assert verdict.reasons[0].startswith("no hold-out items")


def test_the_matrix_starts_with_the_base(workspace: Workspace) -> None:
    verdict = judge(workspace, GAINED)
    assert (verdict.baseline_row.version, verdict.baseline_row.trained) == ("base", ())
    assert verdict.row.trained == ("docs",)
    change = verdict.row.losses["general"] - verdict.baseline_row.losses["general"]
    assert verdict.transfer["forgetting"] == pytest.approx(change)
    assert verdict.transfer["average"] == pytest.approx(-sum(verdict.row.losses.values()) / 2)


def test_the_matrix_goes_on_from_the_history(workspace: Workspace) -> None:
    rows = (
        MatrixRow(version="base", losses={"news": 4.0}),
        MatrixRow(version="1", losses={"news": 3.0}, trained=("news",)),
    )
    verdict = judge(workspace, GAINED, history=History(digest="two", rows=rows))
    assert (verdict.baseline_row.version, verdict.baseline_row.trained) == ("1", ("news",))
    assert verdict.baseline_row.losses.keys() == {"docs", "general", "news"}  # also the tasks that came since


def test_the_verdict_is_a_function_of_its_inputs_and_its_digest_of_what_it_says(workspace: Workspace) -> None:
    first, again = judge(workspace, GAINED), judge(workspace, GAINED)
    assert again == first
    assert judge(workspace, {**GAINED, ("docs", "fresh"): -0.3}).digest != first.digest
    assert Verdict.model_validate_json(first.model_dump_json()) == first


def test_the_changes_of_the_items_and_both_intervals_are_kept(workspace: Workspace) -> None:
    verdict = judge(workspace, GAINED)
    kept = [row["change_nats"] for row in read_lines(workspace.path / "items.jsonl") if row["part"] == "fresh"]
    (gain,) = (each for each in verdict.comparisons if each.kind == "superiority")
    assert np.mean(kept) == pytest.approx(gain.change)
    (both,) = (row for row in read_lines(workspace.path / "intervals.jsonl") if row["part"] == "fresh")
    assert gain.low == min(both["t"][0], both["bootstrap"][0])
    assert gain.high == max(both["t"][1], both["bootstrap"][1])
    assert sum(1 for _ in read_lines(workspace.path / "comparisons.jsonl")) == len(verdict.comparisons)


@pytest.mark.parametrize(
    "wrong",
    [
        {"level": 0.0},
        {"margin_nats": 0.0},
        {"margins": {"docs": -0.1}},
        {"margins": {"docs": "3 mails"}},
        {"marginnats": 1},
    ],
)
def test_a_wrong_knob_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="validation error for GateConfig"):
        GateConfig.model_validate(wrong)


def answered(workspace: Workspace, which: Report, **wrong: int) -> Report:
    """The same report with suites of 200 questions, the first few of each wrong."""
    rows = [
        {"suite": name, "id": str(k), "document": str(k), "score": float(k >= count)}
        for name, count in wrong.items()
        for k in range(200)
    ]
    write_lines(workspace.at(which.path) / "suites.jsonl", rows)
    scores = {
        name: SuiteScore(metric="accuracy", score=1 - count / 200, num_items=200) for name, count in wrong.items()
    }
    return which.model_copy(update={"suites": scores})


def judge_suites(workspace: Workspace, before: Mapping[str, int], after: Mapping[str, int], **rules: object) -> Verdict:
    config = GateConfig.model_validate({"bootstrap": 400, **rules})
    champion = answered(workspace, report(workspace, "champion", dict.fromkeys(GAINED, 0.0), 0.0), **before)
    candidate = answered(workspace, report(workspace, "candidate", GAINED), **after)
    return gate(workspace, config, candidate, champion, [], NO_HISTORY, ITEMS)


def test_a_suite_that_lost_more_than_its_points_fails_the_candidate(workspace: Workspace) -> None:
    verdict = judge_suites(workspace, {"facts": 20}, {"facts": 60})
    assert verdict.outcome == "fail"
    assert verdict.reasons[0].startswith("facts: score changed by −20.0 points [")
    assert "worse by more than the margin of 5.0 points" in verdict.reasons[0]
    assert judge_suites(workspace, {"facts": 20}, {"facts": 60}, margins={"facts": "40 points"}).outcome == "pass"


def test_per_cent_of_a_suite_are_of_the_champions_score(workspace: Workspace) -> None:
    verdict = judge_suites(workspace, {"facts": 100}, {"facts": 100}, margins={"facts": "10 %"})
    (facts,) = (each for each in verdict.comparisons if each.scope == "suite")
    assert facts.margin == pytest.approx(5.0)  # 10 % of 50 points


def test_a_required_suite_that_was_not_asked_leaves_it_undecided(workspace: Workspace) -> None:
    verdict = judge_suites(workspace, {"facts": 20}, {"facts": 20}, required=["arc"])
    assert verdict.outcome == "undecided"
    assert verdict.reasons[0].startswith("arc: this suite is required and was not asked; add it to evaluate.suites")
    assert "(asked: facts)" in verdict.reasons[0]
    assert judge_suites(workspace, {"facts": 20}, {"facts": 20}, required=["fac*"]).outcome == "pass"


def test_a_suite_near_its_margin_holds_up_only_where_it_is_required(workspace: Workspace) -> None:
    near = {"before": {"facts": 20}, "after": {"facts": 29}}  # 4.5 points of 5 lost
    assert judge_suites(workspace, **near).outcome == "pass"
    verdict = judge_suites(workspace, **near, required=["facts"])
    assert verdict.outcome == "undecided"
    assert verdict.reasons[0].startswith("facts: ")


def test_a_right_answer_of_a_canary_may_not_be_lost(workspace: Workspace) -> None:
    assert judge_suites(workspace, {"canaries": 3}, {"canaries": 2}).outcome == "pass"
    verdict = judge_suites(workspace, {"canaries": 3}, {"canaries": 4})
    assert verdict.outcome == "fail"
    assert verdict.reasons[0] == "canaries: 1 of 197 answers that were right under the champion are lost: 3"


def test_a_suite_keeps_its_points_against_the_base_too(workspace: Workspace) -> None:
    base = answered(workspace, report(workspace, "base", ALIKE), facts=0)
    champion = answered(workspace, report(workspace, "champion", dict.fromkeys(GAINED, 0.0), 0.0), facts=36)
    candidate = answered(workspace, report(workspace, "candidate", GAINED), facts=40)
    verdict = gate(workspace, CONFIG, candidate, champion, [base], NO_HISTORY, ITEMS)
    assert verdict.outcome == "fail"  # 2 points of 5 in this refresh, 20 of 10 in all
    assert "against the base: worse by more than the margin of 10.0 points" in verdict.reasons[0]


def many(workspace: Workspace, number: int, shift: Mapping[int, float], **rules: object) -> Verdict:
    """A gate over tasks of 12 items each, with a gain on fresh text."""
    names = [f"task-{k:02}" for k in range(number)]
    losses = {(name, "anchor"): shift.get(k, 0.0) for k, name in enumerate(names)} | {("task-00", "fresh"): -0.2}
    config = GateConfig.model_validate({"bootstrap": 200, "min_items": 12, "min_documents": 6, **rules})
    items = ITEMS.model_copy(update={"anchor": dict.fromkeys(names, 12), "fresh": {"task-00": 12}})
    return judge(workspace, losses, config, items=items, num_items=12)


def test_more_than_twenty_tasks_are_one_group_with_a_floor_under_each(workspace: Workspace) -> None:
    assert {each.scope for each in many(workspace, 20, {}).comparisons} == {"task"}
    verdict = many(workspace, 21, {})
    assert verdict.outcome == "pass"
    group, *tasks = sorted(
        (each for each in verdict.comparisons if each.part == "anchor"), key=lambda each: each.scope == "task"
    )
    assert (group.scope, group.margin, group.num_items, len(tasks)) == ("group", 0.05, 21 * 12, 21)
    assert [each.margin for each in tasks] == pytest.approx([0.15] * 21)
    assert many(workspace, 21, {3: 0.055}).outcome == "pass"  # above a margin, under the floor
    verdict = many(workspace, 21, {3: 0.4})
    assert (verdict.outcome, verdict.reasons[0][:8]) == ("fail", "task-03:")
    assert "worse by more than the floor of 0.150" in verdict.reasons[0]


def test_a_small_loss_in_every_task_of_a_group_fails_the_group(workspace: Workspace) -> None:
    verdict = many(workspace, 24, dict.fromkeys(range(24), 0.08))
    assert verdict.outcome == "fail"
    assert verdict.reasons[0].startswith("all other tasks (group): loss changed by +0.080")


def test_items_that_decided_before_are_counted(workspace: Workspace) -> None:
    rows = (
        MatrixRow(version="base", losses={"docs": 4.0}),
        MatrixRow(version="1", losses={"docs": 3.0}, num_items={"docs": 60}, verdicts=2),
    )
    verdict = judge(workspace, GAINED, history=History(digest="two", rows=rows, verdicts=1))
    assert verdict.row.verdicts == 2  # its own, and one that was not accepted since version 1
    assert (verdict.uses["docs"].mean, verdict.uses["docs"].most) == ((2 * 60 + 2 * 120) / 120, 4)
    assert verdict.uses["general"].most == 2


def test_a_margin_of_nothing_that_was_judged_is_told(workspace: Workspace) -> None:
    verdict = judge(workspace, GAINED, GateConfig(bootstrap=400, margins={"wikipeda": 0.1}))
    assert "gate.margins: wikipeda is no task, suite or group that was judged" in verdict.reasons


def test_a_task_that_was_judged_by_a_sample_is_told(workspace: Workspace) -> None:
    champion = report(workspace, "champion", dict.fromkeys(GAINED, 0.0), 0.0)
    candidate = report(workspace, "candidate", GAINED).model_copy(update={"sampled": {"docs": 900}})
    verdict = gate(workspace, CONFIG, candidate, champion, [], NO_HISTORY, ITEMS)
    said = "judged by a sample within evaluate.budget_tokens: docs by 120 of 900 items"
    assert said in verdict.reasons


def test_what_was_fresh_before_may_lose_no_more_than_the_rest(workspace: Workspace) -> None:
    lost = {**GAINED, ("docs", "recent"): 0.2}
    verdict = judge(workspace, lost)
    assert verdict.outcome == "fail"
    assert verdict.reasons[0].startswith("docs (recent): loss changed by +0.2")
    few = {**GAINED, ("docs", "recent"): 0.0}
    assert judge(workspace, few).outcome == "pass"


def test_the_rules_come_back_from_their_own_text() -> None:
    written = {"margins": {"docs": 0.05, "facts": "2 points", "legal": "3 %"}, "required": ["facts"], "approval": True}
    config = GateConfig.model_validate(written)
    assert GateConfig.model_validate(config.model_dump(mode="json")) == config
    assert config.model_dump(mode="json")["margins"] == {"docs": 0.05, "facts": "2.0 points", "legal": "3.0 %"}
