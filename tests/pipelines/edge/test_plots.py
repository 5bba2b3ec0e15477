import io
import subprocess
import sys
from typing import Any

import pytest
from matplotlib.figure import Figure

from pipelines.edge import plots
from pipelines.edge.line import Line, read_line
from steps.core.artifacts import Comparison, MatrixRow, Verdict
from steps.learning.gap import gaps
from tests.pipelines.edge.test_line import LEDGER, judged

HISTORY = [
    {"step": 0, "train/validation_docs": 3.0},
    *({"step": k, "train/loss_nats_per_token": 3.0 - k / 100, "train/learning_rate": 1e-4} for k in range(1, 50)),
    {"step": 50, "train/loss_nats_per_token": 2.5, "train/validation_docs": 2.6},
]
ROWS = [
    MatrixRow(version="base", losses={"general": 3.1}),
    MatrixRow(version="candidate", losses={"general": 3.2, "docs": 2.6}, trained=("docs",)),
]


def comparison(task: str, kind: Any, outcome: Any, margin: float) -> Comparison:
    return Comparison(
        task=task,
        against="champion",
        kind=kind,
        outcome=outcome,
        change=-0.142,
        low=-0.171,
        high=-0.113,
        margin=margin,
        p_value=0.001,
        num_items=100,
        num_documents=50,
        reason="because",
    )


def verdict(*comparisons: Comparison) -> Verdict:
    return Verdict(
        digest="verdict",
        outcome="pass",
        reasons=(),
        comparisons=comparisons,
        row=ROWS[1],
        baseline_row=ROWS[0],
        transfer={},
    )


def words(figure: Figure) -> list[str]:
    """Everything written in a figure, once it is drawn."""
    figure.savefig(io.BytesIO(), format="png")
    texts = figure.axes[0].texts + figure.axes[0].get_xticklabels() + figure.axes[0].get_yticklabels()
    legends = [text for legend in figure.legends for text in legend.get_texts()]
    return [text.get_text() for text in [*texts, *legends]]


def test_losses_show_training_its_mean_and_each_validation_task() -> None:
    figure = plots.losses(HISTORY)
    assert {"training batch", "training, mean of 3 steps", "validation: docs"} <= set(words(figure))
    batch, mean, docs = figure.axes[0].lines
    assert list(docs.get_ydata()) == [3.0, 2.6]
    assert (len(batch.get_xdata()), list(mean.get_ydata())[:3]) == (50, pytest.approx([2.99, 2.985, 2.98]))


def test_a_short_run_has_no_running_mean() -> None:
    assert len(plots.losses(HISTORY[1:10]).axes[0].lines) == 1


def test_the_forest_shows_every_comparison_its_interval_and_its_margin() -> None:
    figure = plots.holdout_change(
        verdict(comparison("docs", "superiority", "pass", 0.0), comparison("general", "non-inferiority", "fail", 0.05))
    )
    assert {"general vs champion", "docs, fresh", "−0.142 pass", "−0.142 fail"} <= set(words(figure))
    at = [list(line.get_xdata()) for line in figure.axes[0].lines]
    assert at.count([-0.171, -0.113]) == 2
    assert at.count([0.05, 0.05]) == 1  # superiority has no margin


def test_scores_have_a_scale_of_their_own_below_the_losses() -> None:
    suite = comparison("facts", "non-inferiority", "undecided", 0.05).model_copy(
        update={"scope": "suite", "unit": "points", "change": 2.5, "low": -1.0, "high": 6.0, "margin": 5.0}
    )
    canaries = suite.model_copy(update={"task": "canaries", "kind": "must-hold"})
    figure = plots.holdout_change(verdict(comparison("docs", "non-inferiority", "pass", 0.05), suite, canaries))
    losses, scores = figure.axes
    assert "docs vs champion" in words(figure)
    assert [label.get_text() for label in scores.get_yticklabels()] == ["facts vs champion"]
    assert scores.texts[0].get_text() == "+2.5 undecided"
    assert [5.0, 5.0] in [list(line.get_xdata()) for line in scores.lines]
    assert "points" in scores.get_xlabel()
    assert "nats" in losses.get_xlabel()


def test_of_very_many_comparisons_those_that_do_not_pass_are_shown() -> None:
    passed = [comparison(f"task-{k}", "non-inferiority", "pass", 0.05) for k in range(60)]
    figure = plots.holdout_change(verdict(*passed, comparison("lost", "non-inferiority", "fail", 0.05)))
    assert "lost vs champion" in words(figure)
    assert len(figure.axes[0].get_yticklabels()) == 40
    assert [text.get_text() for text in figure.texts] == ["and 21 more that passed"]


def test_what_was_learnt_and_forgotten_is_drawn_over_the_versions() -> None:
    found = {"average": -3.0, "learning accuracy": -2.5, "forgetting": 0.1, "forgetting from the diagonal": 0.05}
    line = read_line(LEDGER)
    points = [line.points[0], *(point.model_copy(update={"transfer": found}) for point in line.points[1:])]
    figure = plots.learning(line.model_copy(update={"points": tuple(points)}))
    assert words(figure)[-4:] == [
        "forgetting",
        "forgetting from the diagonal",
        "average, since the first version",
        "learning accuracy, since the first version",
    ]
    assert [list(drawn.get_ydata()) for drawn in figure.axes[0].lines[1:4]] == [[0.1] * 3, [0.05] * 3, [0.0] * 3]
    assert "no versions" in words(plots.learning(Line()))


def test_the_matrix_shows_every_score_and_what_was_trained() -> None:
    figure = plots.matrix(ROWS)
    assert {"3.100", "3.200", "2.600", "–", "base", "candidate"} <= set(words(figure))
    bold = [text.get_text() for text in figure.axes[0].texts if text.get_fontweight() == "bold"]
    assert bold == ["2.600"]


def test_the_mixture_shows_tokens_and_shares() -> None:
    figure = plots.mixture({"new/docs": 700, "replay/general": 300}, {"new/docs": 701, "replay/general": 299})
    assert {"700  (70.0 %)", "701  (70.1 %)", "299  (29.9 %)", "planned", "achieved"} <= set(words(figure))


@pytest.mark.parametrize(
    ("figure", "said"),
    [
        (plots.losses([]), "no steps"),
        (plots.holdout_change(verdict()), "nothing was compared"),
        (plots.matrix([]), "no scores"),
        (plots.mixture({}, {}), "no sources"),
    ],
)
def test_an_empty_picture_says_so(figure: Figure, said: str) -> None:
    assert said in words(figure)


def test_no_window_and_no_shared_state_is_touched() -> None:
    program = (
        "import sys\n"
        "from pipelines.edge import plots\n"
        "plots.mixture({'a': 1}, {'a': 1})\n"
        "sys.exit('matplotlib.pyplot' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_curves_show_every_version_and_each_move_of_the_champion() -> None:
    found = words(plots.curves(read_line(LEDGER)))
    assert found[2:6] == ["base", "★ 1\nchampion", "2\nrejected", "3\naccepted"]
    assert found[:2] == ["champion, moved back", "champion"], "served first, and again after version 3"
    assert found[-2:] == ["wiki", "law"]


def test_a_line_without_versions_says_so() -> None:
    assert "no versions" in words(plots.curves(Line()))


def test_a_long_line_shows_its_base_and_its_newest_versions() -> None:
    ledger = [judged(str(n), str(n - 1) if n > 1 else "base", "accepted", {"wiki": (5.0, 4.0)}) for n in range(1, 60)]
    shown = words(plots.line_matrix(read_line(ledger)))
    assert "base" in shown
    assert "59 accepted" in shown
    assert "19 accepted" not in shown


def test_a_stability_gap_says_how_deep_it_was_and_whether_the_task_came_back() -> None:
    losses = {0: (3.0, 2.0, 1.0), 1: (3.5, 2.5, 0.9), 2: (3.2, 2.4, 0.8), 8: (2.9, 2.1, 0.7)}
    rows = [
        {"step": step, "train/validation_a": a, "train/validation_b": b, "train/validation_c": c}
        for step, (a, b, c) in losses.items()
    ]
    figure = plots.stability_gap(rows, gaps(rows))
    assert words(figure)[-3:] == ["a: +0.500, back after 7 steps", "b: +0.500, never back", "c: never worse"]
    shaded: Any = [patch.get_paths()[0].vertices for patch in figure.axes[0].collections if len(patch.get_paths())]
    assert max(xy[1] for xy in shaded[0]) == pytest.approx(0.5)
    assert max(xy[0] for xy in shaded[0]) == pytest.approx(2 + 6 * 0.2 / 0.3)  # where the line meets zero
