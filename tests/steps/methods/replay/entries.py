"""Small memories and evidence to fill buffers with."""

from collections.abc import Mapping, Sequence

import numpy as np

from steps.methods.replay import Entry, Evidence, Memory, Replay


def asked_rise() -> Mapping[str, float]:
    raise AssertionError("the method asks for the rise of validation losses")


def asked_losses(keys: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    raise AssertionError("the method asks for losses of documents")


NOTHING_KNOWN = Evidence(rise=asked_rise, losses=asked_losses)


def risen(**tasks: float) -> Evidence:
    """Evidence of validation losses alone."""
    return Evidence(rise=lambda: tasks, losses=asked_losses)


def entries(first: int, last: int, task: str = "topics", refresh: int = 1, general: bool = False) -> list[Entry]:
    """Documents with the keys `<t>000`, `<t>001`, …, `t` the first letter of their task."""
    return [Entry(f"{task[0]}{number:03d}", task, 10, refresh, general) for number in range(first, last)]


def names(entries_: Sequence[Entry]) -> list[str]:
    """Their keys."""
    return [entry.key for entry in entries_]


def tasks_of(memory: Memory) -> dict[str, int]:
    """Documents held, by task."""
    held = [entry.task for entry in memory.entries]
    return {task: held.count(task) for task in sorted(set(held))}


def run(
    method: Replay, refreshes: Sequence[Sequence[Entry]], seed: int = 0, evidence: Evidence = NOTHING_KNOWN
) -> Memory:
    """The memory after some refreshes in which nothing went stale."""
    memory = Memory()
    for offered in refreshes:
        memory = method.update(memory, [], offered, evidence, seed)
    return memory
