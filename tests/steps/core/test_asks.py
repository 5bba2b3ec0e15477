from collections.abc import Mapping
from pathlib import Path

import pytest

from steps.core.artifacts import Report, Score, SuiteScore
from steps.core.asks import Asks
from steps.core.rules import Rules
from steps.core.shards import write_lines
from steps.core.workspace import Workspace
from tests.builders import build_workspace

RULES = Rules.model_validate(
    {"bootstrap": 0, "min_items": 2, "min_documents": 2, "margins": {"b": "10 %", "facts": "2 points"}, "floor": 3}
)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return build_workspace(tmp_path, "gate")


def report(
    workspace: Workspace,
    name: str,
    losses: Mapping[tuple[str, str], tuple[float, ...]],
    answers: Mapping[str, tuple[float, ...]] | None = None,
) -> Report:
    """Items of one token each, every one its own document."""
    folder = workspace.root / "data" / "evaluate" / name
    rows = [
        {"id": f"{task}-{k}", "task": task, "part": part, "document": f"{task}-{k}", "nats": nats, "tokens": 1}
        for (task, part), column in losses.items()
        for k, nats in enumerate(column)
    ]
    write_lines(folder / "items.jsonl", rows)
    scores: dict[str, dict[str, Score]] = {"anchor": {}, "fresh": {}, "recent": {}}
    for (task, part), column in losses.items():
        mean, number = sum(column) / len(column), len(column)
        scores[part][task] = Score(
            loss_nats_per_token=mean, bits_per_byte=1.0, num_items=number, num_documents=number, num_tokens=number
        )
    asked = dict(answers or {})
    write_lines(
        folder / "suites.jsonl",
        (
            {"suite": suite, "id": str(k), "document": str(k), "score": score}
            for suite, column in asked.items()
            for k, score in enumerate(column)
        ),
    )
    suites = {
        suite: SuiteScore(metric="accuracy", score=sum(column) / len(column), num_items=len(column))
        for suite, column in asked.items()
    }
    return Report(digest=name, path=workspace.relative(folder), model=name, suites=suites, **scores)


def test_every_task_is_asked_within_its_margin_times_the_budget(workspace: Workspace) -> None:
    new = report(workspace, "new", {("a", "anchor"): (3.0, 2.0), ("b", "anchor"): (1.0, 1.2)})
    old = report(workspace, "old", {("a", "anchor"): (2.0, 2.0), ("b", "anchor"): (1.0, 1.0)})
    found = list(Asks(workspace, RULES, new).anchor(old, "base", budget=2.0))
    assert [(each.name, each.change.mean, each.margin, each.floor) for each in found] == [
        ("a", pytest.approx(0.5), pytest.approx(0.1), 1.0),
        ("b", pytest.approx(0.1), pytest.approx(0.2), 1.0),  # 10 % of 1.0, twice
    ]


def test_groups_are_asked_before_the_floor_of_each_task(workspace: Workspace) -> None:
    new = report(workspace, "new", {("a", "anchor"): (3.0, 2.0), ("b", "anchor"): (1.0, 1.2)})
    old = report(workspace, "old", {("a", "anchor"): (2.0, 2.0), ("b", "anchor"): (1.0, 1.0)})
    rules = RULES.model_copy(update={"groups": {"both": ("*",)}})
    found = list(Asks(workspace, rules, new).anchor(old, "champion"))
    assert [(each.place, each.scope, each.margin, each.floor) for each in found] == [
        ("both (group)", "group", pytest.approx(0.05), 1.0),
        ("a", "task", pytest.approx(0.15), 3.0),
        ("b", "task", pytest.approx(0.3), 3.0),
    ]
    assert found[0].change.mean == pytest.approx(0.3)


def test_suites_that_may_lose_a_little_are_asked_and_those_that_may_not_are_kept(workspace: Workspace) -> None:
    new = report(workspace, "new", {}, {"facts": (0.0, 1.0), "canaries": (1.0, 0.0)})
    old = report(workspace, "old", {}, {"facts": (1.0, 1.0), "canaries": (1.0, 1.0)})
    asks = Asks(workspace, RULES, new)
    (facts,) = asks.suites(old, "base", budget=2.0)
    assert (facts.name, facts.change.mean, facts.margin, facts.unit) == ("facts", 50.0, 4.0, "points")
    (canaries,) = asks.kept(old, "champion")
    assert (canaries.task, canaries.outcome) == ("canaries", "fail")
    assert list(Asks(workspace, RULES, report(workspace, "none", {})).suites(old, "base")) == []


def test_what_was_fresh_before_is_asked_where_there_is_enough_of_it(workspace: Workspace) -> None:
    new = report(workspace, "new", {("a", "recent"): (3.0, 2.0), ("b", "recent"): (1.0,)})
    found = list(Asks(workspace, RULES, new).recent(new, "champion"))
    assert [(each.place, each.margin) for each in found] == [("a (recent)", 0.05)]


def test_every_change_and_both_intervals_are_noted(workspace: Workspace) -> None:
    new = report(workspace, "new", {("a", "anchor"): (3.0, 2.0)}, {"facts": (0.0, 1.0), "canaries": (1.0, 0.0)})
    old = report(workspace, "old", {("a", "anchor"): (2.0, 2.0)}, {"facts": (1.0, 1.0), "canaries": (1.0, 1.0)})
    asks = Asks(workspace, RULES, new)
    assert len([*asks.anchor(old, "champion"), *asks.suites(old, "champion"), *asks.kept(old, "champion")]) == 3
    assert [(row["task"], row.get("change_nats", row.get("change_points"))) for row in asks.rows] == [
        ("a", 1.0),
        ("a", 0.0),
        ("facts", 100.0),
        ("facts", 0.0),
        ("canaries", 0.0),
        ("canaries", 100.0),
    ]
    assert [(row["task"], row["part"]) for row in asks.intervals] == [("a", "anchor"), ("facts", "suite")]
