"""Which items a budget of tokens pays for: tasks with new data are judged whole, of the others a sample is.

The order in which a task's items are drawn is decided by the seed and their names, so that every model of a run, and of
the runs after it, is asked the same ones, and a smaller budget asks the first of them. One item of every document comes
before a second of any. Tasks take turns, an item each, until the budget is spent.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from steps.core.documents import Item
from steps.core.shards import digest_of

FEW_TASKS = 5  # are told one by one
Sizes = Callable[[Sequence[Item]], Sequence[int]]


def affordable(
    items: Mapping[str, Sequence[Item]], whole: set[str], budget_tokens: int, sizes: Sizes, seed: int
) -> dict[str, list[Item]]:
    """The items of each task that the budget pays for; those of `whole` tasks come first, and never give way.

    `sizes`: the tokens that the model reads of each item; asked for no more items than may be taken, and one a task.
    """
    taken = {task: list(own) if task in whole else [] for task, own in items.items()}
    left = budget_tokens - sum(sizes([item for own in taken.values() for item in own]))
    turns = {
        task: drawn(task, items[task], seed)
        for task in sorted(items.keys() - whole, key=lambda task: digest_of([seed, task]))
    }
    for turn in range(max(map(len, turns.values()), default=0)):
        offered = [own[turn] for own in turns.values() if turn < len(own)]
        for item, size in zip(offered, sizes(offered), strict=True):
            left -= size
            if left < 0:
                return taken
            taken[item.task].append(item)
    return taken


def drawn(task: str, items: Sequence[Item], seed: int) -> list[Item]:
    """A task's items in the order in which they are drawn."""
    before: Counter[str] = Counter()
    turns = []
    for item in sorted(items, key=lambda item: digest_of([seed, task, item.id])):
        turns.append((before[item.document], item))
        before[item.document] += 1
    return [item for _, item in sorted(turns, key=lambda turn: turn[0])]


def told(sampled: Mapping[str, int], asked: Mapping[str, int]) -> str:
    """What a verdict says of a sample; `sampled`: items of each sampled task, `asked`: how many were asked."""
    shown = [f"{task} by {asked.get(task, 0):,} of {number:,} items" for task, number in sorted(sampled.items())]
    if len(shown) > FEW_TASKS:
        number = sum(asked.get(task, 0) for task in sampled)
        shown = [f"{len(sampled):,} tasks without new data by {number:,} of {sum(sampled.values()):,} items"]
    none = [task for task in sorted(sampled) if not asked.get(task)][:FEW_TASKS]
    unpaid = f"; nothing of {', '.join(none)} was affordable: raise it" if none else ""
    return f"judged by a sample within evaluate.budget_tokens: {', '.join(shown)}{unpaid}"
