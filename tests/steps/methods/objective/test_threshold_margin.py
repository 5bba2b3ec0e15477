from pathlib import Path

import numpy as np
import pytest
import torch

from steps.core.forward import Outputs
from steps.core.models import load_model
from steps.methods.objective.threshold_margin import ThresholdMargin, margins
from tests.steps.methods.objective.views import begun, changes_nothing, outputs, seen, value
from tests.tiny_models import rows_of, tiny_workspace
from tests.training import ends_like_one_never_stopped, run, section

LOW, HIGH = torch.tensor([-1.0]), torch.tensor([1.0])
MEMORY = {"low": LOW, "high": HIGH}
BOTH = ["next-token", {"method": "threshold-margin"}]


def margin(old: float, new: float) -> float:
    return float(margins(torch.tensor([[new]]), torch.tensor([[old]]), LOW, HIGH))


def test_the_margin_by_the_side_on_which_the_old_state_lies() -> None:
    assert [margin(-2.0, new) for new in (-3.0, -1.0, 0.5, 2.0)] == [0.0, 0.0, 1.5, 3.0]  # below: up to -1
    assert [margin(0.5, new) for new in (-3.0, -1.0, 0.0, 2.5)] == [2.0, 0.0, 0.0, 1.5]  # between: within -1..1
    assert [margin(2.0, new) for new in (-3.0, 0.5, 1.0, 9.0)] == [4.0, 0.5, 0.0, 0.0]  # above: from 1
    assert margin(-1.0, 0.0) == 1.0  # a state on a threshold lies beyond it
    assert margin(1.0, 0.0) == 1.0


def test_only_replayed_tokens_count_and_zeros_are_left_out_of_the_mean() -> None:
    said = outputs([[0.0, 0.0]] * 4, [[9.0], [9.0], [3.0], [0.0]])
    view = seen(["new/alpha", "replay/general"], [[1, 1], [1, 1]], said, old=outputs([[0.0, 0.0]] * 2, [[0.0], [0.5]]))
    found = value(ThresholdMargin(weight=1.0), view, MEMORY)
    assert found == pytest.approx(2.0)  # 3 is 2 over the threshold, 0 is where it was: 2 / 1, not 2 / 2
    assert value(ThresholdMargin(), view, MEMORY) == pytest.approx(200.0)


def test_blocks_are_averaged_by_their_tokens_so_micro_batches_do_not_matter() -> None:
    states, was = [[3.0], [0.0], [2.0], [5.0]], [[0.0], [0.0], [0.0], [0.0]]
    together = seen(
        ["replay/a"] * 2, [[1, 1], [1, 1]], outputs([[0.0, 0.0]] * 4, states), old=outputs([[0.0]] * 4, was)
    )
    parts = [
        seen(
            ["replay/a"],
            [[1, 1]],
            outputs([[0.0, 0.0]] * 2, states[first : first + 2]),
            old=outputs([[0.0]] * 2, was[:2]),
            num_replayed=4,
        )
        for first in (0, 2)
    ]
    for one in (ThresholdMargin(weight=1.0), ThresholdMargin(weight="dynamic")):
        split = sum(value(one, part, MEMORY) for part in parts)
        assert value(one, together, MEMORY) == pytest.approx(split, rel=1e-6)
    assert value(ThresholdMargin(weight=1.0), together, MEMORY) == pytest.approx((2.0 / 1 + (1.0 + 4.0) / 2) / 2)


def test_the_dynamic_weight_makes_the_term_as_large_as_the_cross_entropy() -> None:
    states = torch.tensor([[3.0], [2.0]], requires_grad=True)
    view = seen(["replay/a"], [[1, 1]], Outputs(torch.zeros(2, 2), states), old=outputs([[0.0]] * 2, [[0.0], [0.0]]))
    found = ThresholdMargin(weight="dynamic").loss(view, MEMORY)
    assert found is not None
    found.backward()
    assert states.grad is not None
    assert float(found.detach()) == pytest.approx(np.log(2))
    assert states.grad[:, 0].tolist() == pytest.approx([np.log(2) / 1.5 / 2] * 2)  # margin (2 + 1) / 2


def test_the_dynamic_weight_is_0_where_the_margin_is() -> None:
    view = seen(["replay/a"], [[1]], outputs([[0.0, 0.0]], [[0.2]]), old=outputs([[0.0]], [[0.1]]))
    assert value(ThresholdMargin(weight="dynamic"), view, MEMORY) == 0.0


def test_a_micro_batch_without_replay_has_no_margin() -> None:
    assert ThresholdMargin().loss(seen(["new/alpha"], [[1]], outputs([[0.0, 0.0]], [[0.2]])), MEMORY) is None


@pytest.mark.parametrize("seed", range(3))
def test_random_states_give_what_the_definition_gives(seed: int) -> None:
    draw = np.random.default_rng(seed)
    old_NM, new_NM = draw.normal(size=(2, 10, 5)).astype(np.float32)
    mean_M, reach_M = old_NM.mean(0), old_NM.std(0)
    low_M, high_M = mean_M - reach_M, mean_M + reach_M
    total, elements = np.zeros(2), np.zeros(2)
    for n, m in np.ndindex(10, 5):
        h, p = old_NM[n, m], new_NM[n, m]
        if h <= low_M[m]:
            found = max(p - low_M[m], 0)
        elif h >= high_M[m]:
            found = max(high_M[m] - p, 0)
        else:
            found = max(p - high_M[m], 0) + max(low_M[m] - p, 0)
        total[n // 5] += found
        elements[n // 5] += found != 0
    view = seen(
        ["replay/a", "replay/b"],
        [[1] * 5] * 2,
        Outputs(torch.zeros(10, 2), torch.from_numpy(new_NM)),
        old=Outputs(torch.zeros(10, 2), torch.from_numpy(old_NM)),
    )
    memory = {"low": torch.from_numpy(low_M), "high": torch.from_numpy(high_M)}
    assert value(ThresholdMargin(weight=1.0), view, memory) == pytest.approx((total / elements).mean(), rel=1e-5)


@pytest.mark.parametrize("size", [1, 3])
def test_thresholds_are_mean_and_deviation_of_the_parents_states_over_replayed_tokens(
    tmp_path: Path, size: int
) -> None:
    learner, blocks, _ = begun(tmp_path, {"method": "threshold-margin", "deviations": 2.0}, size=size)
    parent, states = load_model(tmp_path / "parent"), []
    for batch in blocks.replayed(1):
        with torch.no_grad():
            states.append(parent(input_ids=batch.input_ids, output_hidden_states=True).hidden_states[-1][0, :-1])
    x_NM = torch.cat(states).double().numpy()
    memory = learner.memory["threshold-margin"]
    assert np.allclose(memory["low"], x_NM.mean(0) - 2 * x_NM.std(0), atol=1e-5)
    assert np.allclose(memory["high"], x_NM.mean(0) + 2 * x_NM.std(0), atol=1e-5)


def test_it_is_exactly_0_at_step_1_and_not_later(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path)
    made = run(workspace, section(objective=BOTH, schedule={"method": "constant"}), 4)
    found = [row["train/objective_threshold-margin"] for row in rows_of(workspace.at(made.history))[1:]]
    assert found[0] == 0.0
    assert all(value > 0 for value in found[1:])


def test_micro_batches_hardly_matter(tmp_path: Path) -> None:
    rows = []
    for size in (1, 4):
        workspace = tiny_workspace(tmp_path / str(size))
        settings = section(objective=["next-token", {"method": "threshold-margin", "weight": "dynamic"}])
        made = run(workspace, settings.model_copy(update={"micro_batch_blocks": size}), 4)
        rows.append(rows_of(workspace.at(made.history)))
    for one, other in zip(*rows, strict=True):
        assert one == pytest.approx(other, rel=1e-3, abs=1e-6)


def test_at_weight_0_it_changes_nothing_at_all(tmp_path: Path) -> None:
    assert changes_nothing(tmp_path, {"method": "threshold-margin", "weight": 0.0})


def test_it_resumes_exactly_and_trains(tmp_path: Path) -> None:
    ends_like_one_never_stopped(tmp_path, section(objective=BOTH))


def test_it_is_refused_where_nothing_is_replayed(tmp_path: Path) -> None:
    with pytest.raises(
        ValueError, match=r"threshold-margin needs replayed text, the training set has none \(new/alpha"
    ):
        begun(tmp_path, BOTH, sources=("new/alpha", "new/beta"))
