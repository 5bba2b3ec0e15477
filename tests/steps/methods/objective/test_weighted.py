import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from steps.methods.objective.next_token import NextToken
from steps.methods.objective.weighted import Weighted
from steps.train import train
from tests.steps.methods.objective.views import begun, outputs, seen, value
from tests.tiny_models import STATE, parent_model, tiny_workspace, training_set, validation_items
from tests.training import ends_like_one_never_stopped, run, section, weights

SOURCES, LABELS = ["new/alpha", "new/beta", "replay/general"], [[0, 0], [1, 0], [1, 1]]
SAID = outputs([[0.0, x] for x in (0.1, 0.2, 0.3, 0.4, 0.5, 0.6)], None)
VIEW = seen(SOURCES, LABELS, SAID)


def nats() -> np.ndarray:
    x_N, label_N = np.array([0.1, 0.2, 0.3, 0.4, 0.5, 0.6]), np.array([0, 0, 1, 0, 1, 1])
    found: np.ndarray = np.log(1 + np.exp(x_N)) - x_N * label_N
    return found


def test_sources_and_kinds_have_weights_and_the_source_goes_before_its_kind() -> None:
    found = value(Weighted(sources={"new": 2.0, "new/beta": 3.0, "replay": 0.5}), VIEW)
    assert found == pytest.approx((nats() * [2, 2, 3, 3, 0.5, 0.5]).sum() / 6, rel=1e-6)
    assert value(Weighted(sources={"replay/general": 0.0}), VIEW) == pytest.approx(nats()[:4].sum() / 6, rel=1e-6)


def test_changed_tokens_weigh_more() -> None:
    view = seen(SOURCES, LABELS, SAID, changed=[[True, False], [False, False], [False, True]])
    found = value(Weighted(changed=4.0, sources={"new": 2.0}), view)
    assert found == pytest.approx((nats() * [8, 2, 2, 2, 1, 4]).sum() / 6, rel=1e-6)
    assert value(Weighted(changed=4.0), VIEW) == value(NextToken(), VIEW)  # nothing is marked


def test_balanced_kinds_are_the_mean_of_two_means() -> None:
    found = value(Weighted(balance="kinds"), VIEW)
    assert found == pytest.approx((nats()[:4].mean() + nats()[4:].mean()) / 2, rel=1e-6)
    only_new = seen(["new/alpha"], [[0, 0]], outputs([[0.0, 0.1], [0.0, 0.2]], None))
    assert value(Weighted(balance="kinds"), only_new) == value(NextToken(), only_new)


def test_micro_batches_sum_to_the_step() -> None:
    part = seen(SOURCES, LABELS, SAID, num_losses=12, num_replayed=4)
    for one in (Weighted(balance="kinds"), Weighted(sources={"new": 3.0})):
        assert value(one, part) == pytest.approx(value(one, VIEW) / 2, rel=1e-6)


def test_at_weights_of_1_it_is_next_token_exactly(tmp_path: Path) -> None:
    ends = []
    for name, objective in (("a", "next-token"), ("b", {"method": "weighted", "sources": {"new": 1.0}})):
        workspace = tiny_workspace(tmp_path / name)
        ends.append(weights(workspace, run(workspace, section(objective=objective))))
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_marks_in_the_streams_reach_the_loss(tmp_path: Path) -> None:
    ends = []
    for name, objective in (("marked", {"changed": 0.0}), ("by source", {"sources": {"new/alpha": 0.0}})):
        workspace = tiny_workspace(tmp_path / name)
        made, parent, items = training_set(workspace), parent_model(workspace), validation_items(workspace)
        path = workspace.at(made.path) / "streams" / "0.safetensors"  # new/alpha, all of which is marked
        tensors = load_file(path)
        save_file(tensors | {"changed": torch.ones_like(tensors["input_ids"], dtype=torch.uint8)}, path)
        settings = section(objective={"method": "weighted"} | objective)
        ends.append(weights(workspace, train(workspace, settings, parent, STATE, made, items)))
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_it_resumes_exactly_and_trains(tmp_path: Path) -> None:
    objective = {"method": "weighted", "sources": {"new": 2.0}, "balance": "kinds"}
    ends_like_one_never_stopped(tmp_path, section(objective=objective))


def test_what_has_no_effect_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        begun(tmp_path, [{"method": "weighted", "sources": {"new/alpha": 2.0, "new/gamma": 2.0}, "changed": 3.0}])
    assert "the training set has no new/gamma, only new/alpha, replay/general" in caplog.text
    assert "changed is 3, but no token is marked" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        begun(tmp_path, [{"method": "weighted", "sources": {"new": 2.0, "replay": 1.0}}])
    assert not caplog.records


def test_bad_weights_and_next_token_beside_it_are_refused() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 0"):
        Weighted(sources={"new": -1.0})
    with pytest.raises(ValueError, match="next-token and weighted are each the loss of the text"):
        section(objective=["next-token", "weighted"])
