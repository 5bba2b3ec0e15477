from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steps.core.comparisons import Demands, Pair, better, item_changes, not_worse, paired_tasks
from steps.core.shards import write_lines
from steps.core.statistics import PairedChange

DEMANDS = Demands(level=0.05, min_items=10, min_documents=5)
Test = Callable[..., list[Any]]
MARGINS = dict.fromkeys("abcde", 0.05)


def known(mean: float, error: float, num_items: int = 100, num_documents: int = 100) -> PairedChange:
    return PairedChange(mean, error, num_items, num_documents, np.empty(0))


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
    (found,) = not_worse({"a": known(mean, 0.01)}, MARGINS, DEMANDS, "champion")
    assert found.outcome == outcome
    assert found.reason.endswith(f"against the champion: {words}")


def test_a_reason_says_the_change_and_its_interval() -> None:
    (found,) = not_worse({"a": known(-0.142, 0.0146)}, MARGINS, DEMANDS, "base")
    assert found.reason.startswith("a: loss changed by −0.142 nats/token [−0.171, −0.113] against the base: better")


def test_passing_is_not_made_harder_by_more_tasks_but_failing_is() -> None:
    alone = not_worse({"a": known(0.07, 0.01)}, MARGINS, DEMANDS, "champion")  # p of harm 0.024
    with_others = not_worse(
        {"a": known(0.07, 0.01), "b": known(0.0, 0.01), "c": known(0.032, 0.01)}, MARGINS, DEMANDS, "champion"
    )
    assert [each.outcome for each in alone] == ["fail"]
    assert [each.outcome for each in with_others] == ["undecided", "pass", "pass"]


@pytest.mark.parametrize(
    ("num_items", "num_documents", "words"),
    [(9, 9, "too few items: wanted 10, found 9"), (40, 4, "too few documents: wanted 5, found 4")],
)
@pytest.mark.parametrize("test", [not_worse, better])
def test_too_few_items_or_documents_decide_nothing(test: Test, num_items: int, num_documents: int, words: str) -> None:
    (found,) = test({"a": known(-0.5, 0.01, num_items, num_documents)}, MARGINS, DEMANDS, "champion")
    assert found.outcome == "undecided"
    assert found.reason.endswith(words)


def test_harm_in_a_task_with_too_few_items_does_not_count_in_holm() -> None:
    paired = {"a": known(0.07, 0.01), "b": known(9.0, 0.01, num_items=3, num_documents=3)}
    found = not_worse(paired, MARGINS, DEMANDS, "champion")
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
    (found,) = better({"a": known(mean, 0.01)}, MARGINS, DEMANDS, "champion")
    assert found.outcome == outcome
    assert found.reason.startswith("a (fresh): loss changed by")
    assert found.reason.endswith(words)


def test_superiority_is_corrected_for_the_number_of_tasks() -> None:
    faint = known(-0.019, 0.01)  # p = 0.03
    assert [each.outcome for each in better({"a": faint}, MARGINS, DEMANDS, "champion")] == ["pass"]
    both = better({"a": faint, "b": known(0.0, 0.01)}, MARGINS, DEMANDS, "champion")
    assert [each.outcome for each in both] == ["undecided", "undecided"]
