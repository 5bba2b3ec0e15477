"""A budget pays for tasks with new data first, and for a sample of the others that no model can choose."""

from collections.abc import Sequence
from pathlib import Path

from steps.core.documents import Item
from steps.core.item_budget import affordable, drawn, told
from steps.core.scores import Scored, Scores


def items(task: str, number: int, per_document: int = 1) -> list[Item]:
    return [
        Item(id=f"{task}-{k}", task=task, document=f"{task}/{k // per_document}", text="ten tokens")
        for k in range(number)
    ]


def tens(asked: Sequence[Item]) -> list[int]:
    return [10] * len(asked)


TASKS = {"news": items("news", 4), "law": items("law", 6), "code": items("code", 6)}


def taken(budget_tokens: int, seed: int = 0) -> dict[str, list[str]]:
    found = affordable(TASKS, {"news"}, budget_tokens, tens, seed)
    return {task: [item.id for item in own] for task, own in found.items()}


def test_enough_pays_for_everything() -> None:
    assert {task: set(own) for task, own in taken(160).items()} == {
        task: {item.id for item in own} for task, own in TASKS.items()
    }


def test_a_task_with_new_data_is_whole_and_the_others_take_turns() -> None:
    counts = {task: len(own) for task, own in taken(100).items()}
    assert counts == {"news": 4, "law": 3, "code": 3}
    assert sorted(len(own) for own in taken(110).values()) == [3, 4, 4]


def test_what_is_read_stays_within_the_budget() -> None:
    assert all(10 * sum(map(len, taken(budget).values())) <= budget for budget in range(40, 200, 7))


def test_new_data_is_judged_even_beyond_the_budget() -> None:
    assert {task: len(own) for task, own in taken(5).items()} == {"news": 4, "law": 0, "code": 0}


def test_a_smaller_budget_asks_the_first_of_the_same() -> None:
    large, small = taken(130), taken(90)
    assert all(large[task][: len(own)] == own for task, own in small.items())


def test_the_sample_is_the_seeds_alone() -> None:
    shuffled = {task: own[::-1] for task, own in reversed(TASKS.items())}
    again = affordable(shuffled, {"news"}, 90, tens, 0)
    assert {task: [item.id for item in own] for task, own in again.items() if task != "news"} == {
        task: own for task, own in taken(90).items() if task != "news"
    }
    assert {tuple(taken(90, seed)["law"]) for seed in range(8)} != {tuple(taken(90)["law"])}


def test_one_of_every_document_comes_before_a_second_of_any() -> None:
    order = drawn("law", items("law", 12, per_document=3), seed=1)
    assert [{item.document for item in order[start : start + 4]} for start in (0, 4, 8)] == [
        {f"law/{k}" for k in range(4)}
    ] * 3


def test_no_more_is_measured_than_may_be_taken() -> None:
    measured: list[str] = []

    def sizes(asked: Sequence[Item]) -> list[int]:
        measured.extend(item.id for item in asked)
        return tens(asked)

    line = {f"task-{k:03}": items(f"task-{k:03}", 100) for k in range(50)}
    assert sum(map(len, affordable(line, set(), 2000, sizes, 0).values())) == 200
    assert len(measured) <= 250


def test_the_cost_stays_flat_over_two_hundred_tasks_and_refreshes(tmp_path: Path) -> None:
    line: dict[str, list[Item]] = {}
    reads, scored, held = [], [], []
    for refresh in range(200):
        new = f"task-{refresh:03}"
        line[new] = items(new, 6, per_document=2)
        asked = affordable(line, {new}, 900, tens, seed=7)
        pinned = Scores(tmp_path / "scores.jsonl", "the base")
        missing = [item for own in asked.values() for item in own if item.id not in pinned.items]
        pinned.add(Scored(item=item.id, nats=1.0, tokens=10, bytes=10) for item in missing)
        pinned.keep({item.id for own in asked.values() for item in own})
        reads.append(sum(len(tens(own)) * 10 for own in asked.values()))
        scored.append(len(missing))
        held.append(pinned.num_rows)
    assert max(reads) == 900
    assert max(scored) == 6, "what a pinned model scored before is never scored again"
    assert max(held) <= 2 * 90


def test_a_verdict_is_told_of_the_sample_and_of_what_it_left_out() -> None:
    start = "judged by a sample within evaluate.budget_tokens: "
    assert (
        told({"law": 100, "code": 60}, {"law": 7, "code": 5}) == f"{start}code by 5 of 60 items, law by 7 of 100 items"
    )
    assert told({"law": 100}, {}) == f"{start}law by 0 of 100 items; nothing of law was affordable: raise it"
    many = {f"task-{k:03}": 10 for k in range(200)}
    assert told(many, dict.fromkeys(many, 3)) == f"{start}200 tasks without new data by 600 of 2,000 items"
