"""What the picture of a sweep shows."""

from pipelines.edge.merge_plots import front
from tests.steps.core.test_front import front as swept
from tests.steps.core.test_front import point

POINTS = (point(0.25, -0.1, 0.01), point(0.5, -0.3, 0.04), point(1.0, -0.9, 0.4))


def test_every_point_stands_where_it_harms_and_gains_and_the_one_taken_is_named() -> None:
    left, _ = front(swept(*POINTS)).axes
    places = [tuple(round(float(each), 6) for each in dots.get_offsets()[0]) for dots in left.collections]
    assert places == [(0.01, 0.1), (0.04, 0.3), (0.4, 0.9)]
    assert [text.get_text() for text in left.texts] == ["0.25", "0.5 taken", "1"]


def test_every_task_has_a_line_and_says_whether_it_was_trained_on() -> None:
    _, right = front(swept(*POINTS)).axes
    assert [text.get_text() for text in right.get_legend().get_texts()] == ["law (trained on)", "wiki"]


def test_one_point_makes_a_picture() -> None:
    figure = front(swept(point(0.5, 0.2, 0.3)))
    figure.canvas.draw()
    assert [text.get_text() for text in figure.axes[0].texts] == ["0.5 taken"]
