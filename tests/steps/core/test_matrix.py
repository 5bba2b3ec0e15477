import pytest

from steps.core.artifacts import MatrixRow
from steps.core.matrix import transfer, uses

SCORES = [[0.2, 0.3, 0.1], [0.8, 0.4, 0.2], [0.7, 0.9, 0.3], [0.6, 0.8, 0.9]]  # rows 0 to 3, tasks 1 to 3


OTHER = [  # four tasks; the first is better at the end than when it was learnt
    [0.10, 0.25, 0.30, 0.20],
    [0.70, 0.35, 0.25, 0.20],
    [0.75, 0.80, 0.40, 0.15],
    [0.60, 0.65, 0.85, 0.30],
    [0.72, 0.60, 0.70, 0.90],
]
AVALANCHE = {  # what the classes of avalanche-lib 0.6.0 say of these; the last test asks them again where it is there
    "worked example": (SCORES, 0.15, -0.15, 0.15),
    "another": (OTHER, 0.11, -0.11, 0.1),
}


def row(version: str, trained: tuple[str, ...] = (), **losses: float) -> MatrixRow:
    return MatrixRow(version=version, losses=losses, trained=trained)


def worked_example(matrix: list[list[float]] = SCORES) -> list[MatrixRow]:
    return [
        MatrixRow(
            version=str(k),
            losses={f"task-{j + 1}": -score for j, score in enumerate(scores)},
            trained=(f"task-{k}",) if k else (),
        )
        for k, scores in enumerate(matrix)
    ]


def test_the_worked_example() -> None:
    found = transfer(worked_example())
    assert found == {
        "average": pytest.approx(0.767, abs=5e-4),
        "learning accuracy": pytest.approx(0.867, abs=5e-4),
        "backward transfer": pytest.approx(-0.15),
        "forward transfer": pytest.approx(0.15),
        "forgetting": pytest.approx(0.15),
        "forgetting from the diagonal": pytest.approx(0.15),
    }


def test_a_first_refresh_can_forget_only_what_the_base_knew() -> None:
    rows = [row("base", docs=3.0, general=2.0), row("candidate", ("docs",), docs=2.5, general=2.1)]
    found = transfer(rows)
    assert found["backward transfer"] == pytest.approx(-0.1)
    assert found["forgetting"] == pytest.approx(0.1)
    assert found["average"] == pytest.approx(-2.3)
    assert found["learning accuracy"] == pytest.approx((-2.5 - 2.0) / 2)
    assert "forward transfer" not in found


def test_a_first_refresh_of_every_task_has_nothing_to_forget() -> None:
    found = transfer([row("base", docs=3.0), row("candidate", ("docs",), docs=2.5)])
    assert found == {"average": -2.5, "learning accuracy": -2.5}


def test_a_task_trained_again_is_compared_with_its_latest_training_before() -> None:
    rows = [row("base", docs=3.0), row("1", ("docs",), docs=2.5), row("2", ("docs",), docs=2.2), row("3", docs=2.3)]
    assert transfer(rows)["backward transfer"] == pytest.approx(-0.1)
    rows.append(row("4", ("docs",), docs=2.0))
    assert transfer(rows)["backward transfer"] == pytest.approx(0.2)  # from version 2, not from itself


def test_forgetting_is_measured_from_the_best_version_since_the_task_was_learnt() -> None:
    rows = [row("base", docs=1.0), row("1", ("docs",), docs=2.0), row("2", docs=1.8), row("3", docs=2.1)]
    assert transfer(rows)["forgetting"] == pytest.approx(0.3)  # from version 2; the base did not learn it


def test_a_task_that_came_later_is_missing_in_older_rows() -> None:
    rows = [row("base", docs=3.0), row("1", ("docs",), docs=2.5), row("2", ("late",), docs=2.6, late=1.0)]
    found = transfer(rows)
    assert found["average"] == pytest.approx(-1.8)
    assert found["learning accuracy"] == pytest.approx((-2.5 - 1.0) / 2)
    assert found["backward transfer"] == pytest.approx(-0.1)


def test_a_task_without_a_score_in_the_last_row_is_left_out() -> None:
    assert transfer([row("base", gone=3.0, docs=2.0), row("1", docs=2.0)])["average"] == -2.0


def test_every_verdict_since_an_item_came_used_it() -> None:
    rows = [
        row("base", docs=3.0),
        MatrixRow(version="1", losses={"docs": 2.0}, num_items={"docs": 50}, verdicts=3),  # two were not accepted
        MatrixRow(version="2", losses={"docs": 2.0, "late": 1.0}, num_items={"docs": 100, "late": 10}, verdicts=1),
        MatrixRow(version="candidate", losses={}, num_items={"docs": 100, "late": 10, "facts": 20}, verdicts=2),
    ]
    found = {name: (use.mean, use.most) for name, use in uses(rows).items()}
    assert found == {"docs": ((3 * 50 + 100 + 200) / 100, 6), "late": (3.0, 3), "facts": (2.0, 2)}


def test_a_row_from_before_items_were_counted_used_them_all() -> None:
    rows = [row("base", docs=3.0), row("1", docs=2.0), MatrixRow(version="2", losses={}, num_items={"docs": 40})]
    assert uses(rows)["docs"].most == 2
    assert uses(rows)["docs"].mean == 2.0


@pytest.mark.parametrize("name", AVALANCHE)
def test_forgetting_from_the_diagonal_and_both_transfers_are_those_of_avalanche(name: str) -> None:
    matrix, forgetting, backward, forward = AVALANCHE[name]
    found = transfer(worked_example(matrix))
    assert found["forgetting from the diagonal"] == pytest.approx(forgetting)
    assert found["backward transfer"] == pytest.approx(backward)
    assert found["forward transfer"] == pytest.approx(forward)


def test_what_was_better_in_between_is_forgotten_only_when_counted_from_the_best() -> None:
    found = transfer(worked_example(OTHER))
    assert found["forgetting"] == pytest.approx(((0.75 - 0.72) + (0.80 - 0.60) + (0.85 - 0.70)) / 3)
    assert found["forgetting from the diagonal"] == pytest.approx(((0.70 - 0.72) + (0.80 - 0.60) + (0.85 - 0.70)) / 3)
    assert found["learning accuracy"] == pytest.approx((0.70 + 0.80 + 0.85 + 0.90) / 4)


def test_what_was_hardly_learnt_is_not_forgotten_and_its_learning_accuracy_says_why() -> None:
    lazy = [[0.2, 0.2], [0.25, 0.2], [0.25, 0.25]]
    keen = [[0.2, 0.2], [0.9, 0.2], [0.8, 0.9]]
    one, other = transfer(worked_example(lazy)), transfer(worked_example(keen))
    assert one["forgetting"] < other["forgetting"]
    assert one["learning accuracy"] < other["learning accuracy"]


@pytest.mark.slow
@pytest.mark.parametrize("name", AVALANCHE)
@pytest.mark.filterwarnings("ignore")
def test_avalanche_says_so_itself(name: str) -> None:
    metrics = pytest.importorskip("avalanche.evaluation.metrics", reason="avalanche-lib is not installed")
    matrix, last = AVALANCHE[name][0], len(AVALANCHE[name][0]) - 1
    forgetting, backward, forward = metrics.Forgetting(), metrics.BWT(), metrics.ForwardTransfer()
    for task in range(last):
        for metric in (forgetting, backward):
            metric.update(task, matrix[task + 1][task], initial=True)
            if task < last - 1:
                metric.update(task, matrix[last][task])
        if task:
            forward.update(task, matrix[0][task], initial=True)
            forward.update(task, matrix[task][task])
    said = [sum(metric.result().values()) / len(metric.result()) for metric in (forgetting, backward, forward)]
    assert said == pytest.approx(AVALANCHE[name][1:])
