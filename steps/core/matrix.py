"""The matrix version x task: what each version scores on each task's anchor set, and what it says of learning.

Scores are higher when better: `-loss`. Row 0 is the base.
"""

from collections.abc import Sequence

from steps.core.artifacts import ItemUse, MatrixRow


def transfer(rows: Sequence[MatrixRow]) -> dict[str, float]:
    """What the last row K remembers and gained, in nats/token of `-loss`, as means over tasks.

    A task is learnt in the row that names it as trained; one that no row names (general text) was learnt before row 0.
    With a[k, j] the score of row k on task j, and d(j) the latest row before K that trained task j, or K itself:

    - `average`: a[K, j]
    - `learning accuracy`: a[d(j), j]
    - `backward transfer`: a[K, j] - a[d(j), j], over the tasks learnt before K
    - `forgetting`: the best a[l, j] since task j was first learnt and before K, less a[K, j]; over the same tasks
    - `forgetting from the diagonal`: a[d(j), j] - a[K, j]: the backward transfer, turned round
    - `forward transfer`: a[f(j) - 1, j] - a[0, j] with f(j) the first row that trained task j, where f(j) > 1

    A task that the last row does not score is left out, and so is a cell that an older row lacks (the task came
    later); a mean over nothing is left out too.
    """
    assert rows, "the matrix has no rows"
    last = len(rows) - 1
    found: dict[str, list[float]] = {}
    for task, loss in sorted(rows[last].losses.items()):
        trained = [k for k, row in enumerate(rows) if task in row.trained]
        first = trained[0] if trained else 0
        earlier = [k for k in trained or [0] if k < last]
        learnt = earlier[-1] if earlier else last
        score = {k: -row.losses[task] for k, row in enumerate(rows) if task in row.losses}
        found.setdefault("average", []).append(-loss)
        if learnt in score:
            found.setdefault("learning accuracy", []).append(score[learnt])
        if earlier and learnt in score:
            found.setdefault("backward transfer", []).append(-loss - score[learnt])
            found.setdefault("forgetting from the diagonal", []).append(score[learnt] + loss)
        since = [value for k, value in score.items() if first <= k < last]
        if earlier and since:
            found.setdefault("forgetting", []).append(max(since) + loss)
        if first > 1 and {0, first - 1} <= score.keys():
            found.setdefault("forward transfer", []).append(score[first - 1] - score[0])
    return {name: sum(values) / len(values) for name, values in found.items()}


def uses(rows: Sequence[MatrixRow]) -> dict[str, ItemUse]:
    """How many verdicts the items of the last row took part in, by task or suite; its own is one of them.

    Sets of items only grow, so what an earlier row was judged by is still among them. An earlier row that does not say
    by how many (from before rows did) counts for all: that is most often too many, and never too few.
    """
    last = rows[-1]
    found = {}
    for name, number in last.num_items.items():
        judged = [
            (row.verdicts, min(number, row.num_items.get(name, number))) for row in rows[1:] if _scored(row, name)
        ]
        most = sum(verdicts for verdicts, _ in judged)
        mean = sum(verdicts * items for verdicts, items in judged) / number if number else 0.0
        found[name] = ItemUse(mean=mean, most=most)
    return found


def _scored(row: MatrixRow, name: str) -> bool:
    return name in row.num_items or (not row.num_items and name in row.losses)
