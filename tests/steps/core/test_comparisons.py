from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steps.core.artifacts import Comparison
from steps.core.comparisons import (
    Asked,
    Demands,
    Pair,
    item_changes,
    judge,
    must_hold,
    paired_groups,
    paired_suites,
    paired_tasks,
    suite_changes,
)
from steps.core.shards import write_lines
from steps.core.statistics import PairedChange

DEMANDS = Demands(level=0.05, min_items=10, min_documents=5)
Test = Callable[..., list[Any]]
MARGINS = dict.fromkeys("abcde", 0.05)


def known(mean: float, error: float, num_items: int = 100, num_documents: int = 100) -> PairedChange:
    return PairedChange(mean, error, num_items, num_documents, np.empty(0))


def asked(paired: Mapping[str, PairedChange], against: str, part: Any = "anchor") -> list[Asked]:
    return [Asked(task, against, change, MARGINS[task], part=part) for task, change in paired.items()]


def not_worse(paired: Mapping[str, PairedChange], against: str = "champion") -> list[Comparison]:
    return judge(asked(paired, against), [], DEMANDS)


def better(paired: Mapping[str, PairedChange], against: str = "champion") -> list[Comparison]:
    return judge([], asked(paired, against, "fresh"), DEMANDS)


def write(path: Path, *rows: tuple[str, str, str, float, int]) -> Path:
    write_lines(
        path,
        (
            {"task": task, "part": part, "id": item, "document": f"doc of {item}", "nats": nats, "tokens": tokens}
            for task, part, item, nats, tokens in rows
        ),
    )
    return path


def test_items_are_paired_by_their_id_and_divided_by_their_tokens(tmp_path: Path) -> None:
    new = write(tmp_path / "new", ("a", "anchor", "2", 6.0, 4), ("a", "anchor", "1", 1.0, 2), ("a", "fresh", "3", 1, 1))
    old = write(tmp_path / "old", ("a", "anchor", "1", 2.0, 2), ("a", "anchor", "2", 4.0, 4), ("a", "fresh", "3", 9, 1))
    pairs = [Pair("1", "doc of 1", -0.5), Pair("2", "doc of 2", 0.5)]
    assert item_changes(new, old, "anchor", "champion") == {"a": pairs}


def test_items_that_only_one_model_scored_are_refused(tmp_path: Path) -> None:
    new = write(tmp_path / "new", ("a", "anchor", "1", 1.0, 2), ("a", "anchor", "2", 1.0, 2))
    old = write(tmp_path / "old", ("a", "anchor", "1", 2.0, 2))
    with pytest.raises(ValueError, match="a: item 2 is scored for the candidate alone; evaluate both"):
        item_changes(new, old, "anchor", "champion")
    with pytest.raises(ValueError, match="a: item 2 is scored for the base alone"):
        item_changes(old, new, "anchor", "base")


def test_losses_under_two_tokenizers_are_refused(tmp_path: Path) -> None:
    new, old = write(tmp_path / "new", ("a", "anchor", "1", 1, 2)), write(tmp_path / "old", ("a", "anchor", "1", 1, 3))
    with pytest.raises(ValueError, match="item 1 has 2 tokens for the candidate and 3 for the base"):
        item_changes(new, old, "anchor", "base")


def test_a_task_of_one_document_is_left_out() -> None:
    pairs = {"a": [Pair("1", "d", 0.1), Pair("2", "d", 0.2)], "b": [Pair("1", "d", 0.1), Pair("2", "e", 0.2)]}
    assert paired_tasks(pairs, draws=0, seed=0).keys() == {"b"}


@pytest.mark.parametrize(
    ("mean", "outcome", "words"),
    [
        (-0.14, "pass", "better, and within the margin of 0.050 (p < 0.001)"),
        (0.0, "pass", "within the margin of 0.050 (p < 0.001)"),
        (
            0.04,
            "undecided",
            "undecided at the margin of 0.050 (p = 0.160); about 171 more items like these would decide",
        ),
        (0.048, "undecided", "undecided at the margin of 0.050 (p = 0.421); too close for more items to decide"),
        (0.09, "fail", "worse by more than the margin of 0.050 (p < 0.001)"),
    ],
)
def test_non_inferiority_in_words(mean: float, outcome: str, words: str) -> None:
    (found,) = not_worse({"a": known(mean, 0.01)})
    assert found.outcome == outcome
    assert found.reason.endswith(f"against the champion: {words}")


def test_a_reason_says_the_change_and_its_interval() -> None:
    (found,) = not_worse({"a": known(-0.142, 0.0146)}, "base")
    assert found.reason.startswith("a: loss changed by −0.142 nats/token [−0.171, −0.113] against the base: better")


def test_passing_is_not_made_harder_by_more_tasks_but_failing_is() -> None:
    alone = not_worse({"a": known(0.07, 0.01)})  # p of harm 0.024
    with_others = not_worse({"a": known(0.07, 0.01), "b": known(0.0, 0.01), "c": known(0.032, 0.01)})
    assert [each.outcome for each in alone] == ["fail"]
    assert [each.outcome for each in with_others] == ["undecided", "pass", "pass"]


@pytest.mark.parametrize(
    ("num_items", "num_documents", "words"),
    [(9, 9, "too few items: wanted 10, found 9"), (40, 4, "too few documents: wanted 5, found 4")],
)
@pytest.mark.parametrize("test", [not_worse, better])
def test_too_few_items_or_documents_decide_nothing(test: Test, num_items: int, num_documents: int, words: str) -> None:
    (found,) = test({"a": known(-0.5, 0.01, num_items, num_documents)})
    assert found.outcome == "undecided"
    assert found.reason.endswith(words)


def test_harm_in_a_task_with_too_few_items_does_not_count_in_holm() -> None:
    paired = {"a": known(0.07, 0.01), "b": known(9.0, 0.01, num_items=3, num_documents=3)}
    found = not_worse(paired)
    assert [each.outcome for each in found] == ["fail", "undecided"]


@pytest.mark.parametrize(
    ("mean", "outcome", "words"),
    [
        (-0.14, "pass", "a gain (p < 0.001)"),
        (-0.01, "undecided", "no gain shown (p = 0.160); about 171 more items like these would decide"),
        (0.0, "undecided", "no gain shown (p = 0.500); too close for more items to decide"),
        (0.09, "fail", "a loss, not a gain (p = 1.000)"),
    ],
)
def test_superiority_in_words(mean: float, outcome: str, words: str) -> None:
    (found,) = better({"a": known(mean, 0.01)})
    assert found.outcome == outcome
    assert found.reason.startswith("a (fresh): loss changed by")
    assert found.reason.endswith(words)


def test_superiority_is_corrected_for_the_number_of_tasks() -> None:
    faint = known(-0.019, 0.01)  # p = 0.03
    assert [each.outcome for each in better({"a": faint})] == ["pass"]
    both = better({"a": faint, "b": known(0.0, 0.01)})
    assert [each.outcome for each in both] == ["undecided", "undecided"]


def test_what_may_be_failed_for_is_one_family_whoever_it_is_compared_with() -> None:
    worse = known(0.07, 0.01)  # p of harm 0.024: enough alone, too little as one of three
    held = [
        Asked("a", against, worse if against == "base" else known(0.0, 0.01), 0.05) for against in ("x", "base", "y")
    ]
    assert [each.outcome for each in judge(held, [], DEMANDS)] == ["pass", "undecided", "pass"]
    assert [each.outcome for each in judge(held[1:2], [], DEMANDS)] == ["fail"]


def test_the_fresh_tasks_fail_together_or_not_at_all() -> None:
    lost, same = known(0.09, 0.01), known(0.0, 0.01)
    assert [each.outcome for each in better({"a": lost, "b": lost})] == ["fail", "fail"]
    found = better({"a": lost, "b": same})
    assert [each.outcome for each in found] == ["undecided", "undecided"]
    assert found[0].reason.endswith("a loss, not a gain (p = 1.000)")


def test_a_comparison_says_its_power_and_how_many_more_items_would_decide() -> None:
    (found,) = not_worse({"a": known(0.04, 0.01)})
    assert found.power == pytest.approx(0.9996, abs=1e-4)  # (0.05 - 0) / 0.01 - 1.645 = 3.355
    assert found.more_items == 171  # (1.645 * 0.1 / 0.01)^2 = 270.6, less the 100 at hand
    (found,) = not_worse({"a": known(0.0, 0.03)})
    assert found.power == pytest.approx(0.509, abs=1e-3)  # 0.05 / 0.03 - 1.645 = 0.022
    (found,) = not_worse({"a": known(0.0, 0.001, num_items=9)})
    assert (found.power, found.more_items) == (0.0, None)  # with too few items nothing passes


def test_a_floor_of_three_margins_wants_a_ninth_of_the_items() -> None:
    demands = Demands(level=0.05, min_items=90, min_documents=27)
    enough, few = known(0.0, 0.01, 10, 3), known(0.0, 0.01, 9, 3)
    found = judge([Asked("a", "base", change, 0.15, floor=3.0) for change in (enough, few)], [], demands)
    assert found[0].reason.endswith("within the floor of 0.150 (p = 0.002)")  # t = 15 with 2 degrees of freedom
    assert found[1].reason.endswith("too few items: wanted 10, found 9")


def test_a_suite_is_judged_by_its_questions_fewer_than_the_items_of_a_task() -> None:
    demands = Demands(level=0.05, min_items=100, min_documents=100, min_questions=40)
    enough, few = known(30.0, 5.0, 40, 40), known(30.0, 5.0, 39, 39)
    asked = [Asked("manners", "base", change, 5.0, scope="suite") for change in (enough, few)]
    fails, open_ = judge(asked, [], demands)
    assert fails.outcome == "fail"  # (30 - 5) / 5 = 5 standard errors above the margin
    assert (open_.outcome, open_.reason.endswith("too few questions: wanted 40, found 39")) == ("undecided", True)


def ask(path: Path, *rows: tuple[str, str, float]) -> Path:
    write_lines(path, ({"suite": suite, "id": item, "document": item, "score": score} for suite, item, score in rows))
    return path


def test_the_questions_of_a_suite_are_paired_and_a_lost_answer_is_a_hundred_points(tmp_path: Path) -> None:
    new = ask(tmp_path / "new", ("facts", "1", 0.0), ("facts", "2", 1.0), ("facts", "3", 0.5), ("own", "1", 1.0))
    old = ask(tmp_path / "old", ("facts", "1", 1.0), ("facts", "2", 1.0), ("facts", "3", 0.25))
    changes = suite_changes(new, old, "champion")
    assert [(pair.item, pair.change, pair.before) for pair in changes["facts"]] == [
        ("1", 100.0, 1.0),
        ("2", 0.0, 1.0),
        ("3", -25.0, 0.25),
    ]
    assert changes.keys() == {"facts"}  # the champion was not asked the other
    assert suite_changes(new, tmp_path / "none", "champion") == {}


def test_a_suite_of_other_questions_is_refused(tmp_path: Path) -> None:
    new, old = ask(tmp_path / "new", ("facts", "1", 0.0)), ask(tmp_path / "old", ("facts", "2", 0.0))
    with pytest.raises(ValueError, match="facts: item 1 is scored for the candidate alone"):
        suite_changes(new, old, "champion")


def test_a_suite_is_told_in_points_of_its_score() -> None:
    pairs = [Pair(str(k), str(k), 100.0 * (k < 20) - 100.0 * (k > 190)) for k in range(200)]  # 20 lost, 9 gained
    (change,) = paired_suites({"facts": pairs}, 0, 0).values()
    (found,) = judge([Asked("facts", "champion", change, 2.0, scope="suite")], [], DEMANDS)
    assert (found.unit, found.change, found.margin) == ("points", 5.5, 2.0)
    assert found.reason.startswith("facts: score changed by −5.5 points [−11.")
    assert "undecided at the margin of 2.0 points" in found.reason


def test_a_suite_that_nothing_changed_in_is_sure_only_with_enough_questions() -> None:
    same = {name: [Pair(str(k), str(k), 0.0) for k in range(n)] for name, n in (("few", 100), ("many", 200))}
    asks = [Asked(name, "champion", change, 2.0, scope="suite") for name, change in paired_suites(same, 0, 0).items()]
    few, many = judge(asks, [], DEMANDS)
    assert (few.outcome, many.outcome) == ("undecided", "pass")
    assert few.p_value > 0.98**100  # that none of 100 is lost where 2 in 100 are
    assert few.more_items == 33  # (1.645 * 14 / 2)^2 = 132.6, less the 100 at hand


def test_a_group_is_the_mean_of_its_tasks_however_many_items_each_has() -> None:
    changes = {
        "a": [Pair(str(k), str(k), change) for k, change in enumerate((0.0, 0.2))],
        "b": [Pair(str(k), str(k), change) for k, change in enumerate((0.3, 0.3, 0.3, 0.7))],
        "alone": [Pair("1", "1", 9.0)],
    }
    (found,) = paired_groups(changes, {"all": ("a", "b", "alone")}, 0, 0).values()
    assert found.mean == pytest.approx((0.1 + 0.4) / 2)
    assert found.error == pytest.approx(((0.1**2 + 0.1**2) / 4) ** 0.5)  # se 0.1 each: 0.1414/1.414 and 0.2/2
    assert (found.num_items, found.num_documents) == (6, 6)


def test_an_answer_that_was_right_and_is_wrong_fails_and_is_named() -> None:
    pairs = [Pair("one", "one", 0.0, 1.0), Pair("two", "two", 100.0, 1.0), Pair("three", "three", -100.0, 0.0)]
    found = must_hold("canaries", pairs, "champion")
    assert (found.outcome, found.kind, found.change) == ("fail", "must-hold", 0.0)
    assert found.reason == "canaries: 1 of 2 answers that were right under the champion are lost: two"
    assert must_hold("canaries", pairs[::2], "champion").reason.startswith("canaries: all 1 answers that were right")
    assert must_hold("canaries", pairs[2:], "champion").outcome == "pass"
