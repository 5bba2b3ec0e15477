import logging
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from steps.core.artifacts import Trained, TrainingState
from steps.core.models import load_model
from steps.core.training_state import describe_state, read_kept, write_kept
from steps.core.workspace import Workspace
from steps.methods.params.lora import Lora
from steps.methods.params.orthogonal_lora import OrthogonalLora
from steps.train import TrainConfig, train
from tests.steps.methods.params.learning import learned
from tests.tiny_models import rows_of, tiny_model, tiny_workspace, training_set, validation_items
from tests.training import ends_like_one_never_stopped, run, section, weights

LAYER = "model.layers.0.self_attn.q_proj"
TRAINED = f"base_model.model.{LAYER}.lora_{{}}.default.weight"
RANDOM = torch.Generator().manual_seed(3)


def one_layer(folder: Path, past: dict[str, torch.Tensor], **knobs: float) -> tuple[OrthogonalLora, float, float]:
    """The penalty of an adapter on one layer whose A is 0.5 everywhere and whose B is 0.25 everywhere."""
    method = OrthogonalLora(rank=2, alpha=2.0, target_modules=("layers.0.self_attn.q_proj",), **knobs)
    attached = method.attach(load_model(tiny_model(folder)), 0, past)
    torch.nn.init.constant_(attached.trained[TRAINED.format("A")], 0.5)
    torch.nn.init.constant_(attached.trained[TRAINED.format("B")], 0.25)
    value = method.penalty(attached)
    assert value is not None
    value.backward()
    slope = attached.trained[TRAINED.format("A")].grad
    assert slope is not None
    return method, float(value.detach()), float(slope[0, 0])


def old_rows() -> dict[str, torch.Tensor]:
    """Three old rows: all 1, all -1, and one that sums to zero."""
    rows_AI = torch.ones(3, 64)
    rows_AI[1] = -1
    rows_AI[2, ::2] = -1
    return {f"{LAYER}/A": rows_AI, f"{LAYER}/B": torch.zeros(64, 3)}


def test_the_first_term_is_the_absolute_sum_of_products_of_rows(tmp_path: Path) -> None:
    # each of the two new rows (0.5) has the products 32, -32 and 0 with the old ones; dA = 1 + 1 + 0 at the first place
    _, value, slope = one_layer(tmp_path, old_rows(), orthogonal_weight=0.1)
    assert value == pytest.approx(0.1 * 2 * (32 + 32 + 0))
    assert slope == pytest.approx(0.1 * (1 + 1))


def test_the_second_term_is_the_sum_of_norms_or_of_their_squares(tmp_path: Path) -> None:
    norm_a, norm_b = (2 * 64 * 0.5**2) ** 0.5, (2 * 64 * 0.25**2) ** 0.5
    _, value, slope = one_layer(tmp_path, {}, size_weight=0.3)
    assert value == pytest.approx(0.3 * (norm_a + norm_b), rel=1e-6)
    assert slope == pytest.approx(0.3 * 0.5 / norm_a, rel=1e-6)
    _, value, slope = one_layer(tmp_path, {}, size_weight=0.3, squared=True)
    assert value == pytest.approx(0.3 * (norm_a**2 + norm_b**2), rel=1e-6)
    assert slope == pytest.approx(0.3 * 2 * 0.5, rel=1e-6)


def test_a_b_of_zero_has_a_gradient_of_zero(tmp_path: Path) -> None:
    method = OrthogonalLora(rank=2, size_weight=1.0)
    attached = method.attach(load_model(tiny_model(tmp_path)), 0, {})
    penalty = method.penalty(attached)
    assert penalty is not None
    penalty.backward()
    slope = attached.trained[TRAINED.format("B")].grad
    assert slope is not None
    assert not slope.any()


@pytest.mark.parametrize("past", [True, False], ids=["weights of 0", "first refresh"])
def test_it_is_lora_exactly_where_there_is_nothing_to_push(tmp_path: Path, *, past: bool) -> None:
    old = {f"{LAYER}/A": torch.randn(2, 64, generator=RANDOM), f"{LAYER}/B": torch.zeros(64, 2)} if past else {}
    pushed = learned(OrthogonalLora(rank=4, orthogonal_weight=0.0 if past else 5.0), tmp_path, old)
    plain = learned(Lora(rank=4, alpha=32.0), tmp_path)
    assert pushed.trained.keys() == plain.trained.keys()
    assert all(torch.equal(pushed.trained[name], plain.trained[name]) for name in plain.trained)


def overlap(attached_rows: torch.Tensor, old: torch.Tensor) -> float:
    """Mean |cosine| between new and old rows."""
    normed = [rows / rows.norm(dim=1, keepdim=True) for rows in (attached_rows, old)]
    return float((normed[0] @ normed[1].T).abs().mean())


def test_a_large_weight_makes_the_subspaces_more_orthogonal(tmp_path: Path) -> None:
    old = {f"{LAYER}/A": torch.randn(4, 64, generator=RANDOM), f"{LAYER}/B": torch.zeros(64, 4)}
    found = {}
    for weight in (0.0, 5.0):
        attached = learned(OrthogonalLora(rank=4, orthogonal_weight=weight), tmp_path, old, num_steps=30)
        found[weight] = overlap(attached.trained[TRAINED.format("A")].detach(), old[f"{LAYER}/A"])
    assert found[5.0] < 0.5 * found[0.0]


def next_refresh(workspace: Workspace, first: Trained, settings: TrainConfig) -> Trained:
    """A refresh that begins where the first one ended, in the same workspace."""
    workspace.path.rename(workspace.root / "accepted")
    workspace.path.mkdir()
    model = first.model.model_copy(update={"path": "accepted/model", "adapter": None})
    state = first.state.model_copy(update={"path": "accepted/state"})
    return train(workspace, settings, model, state, training_set(workspace, 4), validation_items(workspace))


def test_two_refreshes_in_a_row_carry_the_old_rows_on(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path)
    settings = section(params={"method": "orthogonal-lora", "rank": 2})
    first = run(workspace, settings, num_steps=4)
    before = weights(workspace, first)[f"{LAYER}.weight"]
    assert first.state.path
    old = read_kept(workspace, first.state, "params", settings.params)
    assert old[f"{LAYER}/A"].shape == (2, 64)
    again = next_refresh(workspace, first, settings)
    both = read_kept(workspace, again.state, "params", settings.params)
    assert both[f"{LAYER}/A"].shape == (4, 64)
    assert torch.equal(both[f"{LAYER}/A"][:2], old[f"{LAYER}/A"])
    after = weights(workspace, again)[f"{LAYER}.weight"]
    base = load_file(tmp_path / "parent/model.safetensors")[f"{LAYER}.weight"]
    assert torch.allclose(before, base + old[f"{LAYER}/B"] @ old[f"{LAYER}/A"], atol=1e-6)
    assert torch.allclose(after, base + both[f"{LAYER}/B"] @ both[f"{LAYER}/A"], atol=1e-6)  # both are merged in
    rows = rows_of(workspace.at(again.history))
    assert "train/objective_orthogonal-lora" in rows[1]
    assert "train/objective_orthogonal-lora" not in rows_of(workspace.root / "accepted/history.jsonl")[1]


def test_the_penalty_does_not_grow_with_accumulation(tmp_path: Path) -> None:
    told = []
    for micro_batch_blocks in (1, 2):
        workspace = tiny_workspace(tmp_path / str(micro_batch_blocks))
        settings = section(
            params={"method": "orthogonal-lora", "rank": 2, "size_weight": 0.1}, micro_batch_blocks=micro_batch_blocks
        )
        told.append(rows_of(workspace.at(run(workspace, settings, num_steps=2).history))[1])
    assert told[0]["train/objective_orthogonal-lora"] == told[1]["train/objective_orthogonal-lora"]


def test_rows_of_another_model_are_refused_and_full_layers_are_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    network = load_model(tiny_model(tmp_path))
    past = {f"{LAYER}/A": torch.zeros(2, 128), f"{LAYER}/B": torch.zeros(64, 2)}
    with pytest.raises(ValueError, match=r"q_proj: wanted old adapters of width 64, found 128; .* another model"):
        OrthogonalLora().attach(network, 0, past)
    past = {f"{LAYER}/A": torch.zeros(60, 64), f"{LAYER}/B": torch.zeros(64, 60)}
    with caplog.at_level(logging.WARNING):
        OrthogonalLora(rank=8).attach(load_model(tmp_path), 0, past)
    assert "in 1 layers the old ranks leave no room for 8 orthogonal rows" in caplog.text


def test_with_an_unchanged_seed_a_refresh_draws_other_rows_than_the_last(tmp_path: Path) -> None:
    drawn = []
    past: dict[str, torch.Tensor] = {}
    for _ in range(3):
        method = OrthogonalLora(rank=4)
        attached = method.attach(load_model(tiny_model(tmp_path)), 0, past)
        drawn.append(attached.trained[TRAINED.format("A")].detach().clone())
        past = method.keep(attached)
    assert max(overlap(drawn[i], drawn[j]) for i, j in ((0, 1), (0, 2), (1, 2))) < 0.3


def old_state(workspace: Workspace) -> TrainingState:
    """What a refresh before this one kept."""
    generator = torch.Generator().manual_seed(5)
    kept = {f"{LAYER}/A": torch.randn(4, 64, generator=generator), f"{LAYER}/B": torch.zeros(64, 4)}
    write_kept(workspace.root / "old", {"params-orthogonal-lora.safetensors": kept})
    return describe_state(workspace, workspace.root / "old", TrainingState(digest="none"))


def test_it_trains_and_resumes_exactly(tmp_path: Path) -> None:
    knobs = {"method": "orthogonal-lora", "rank": 4, "orthogonal_weight": 0.05, "size_weight": 0.01}
    whole = ends_like_one_never_stopped(tmp_path, section(params=knobs), state=old_state)
    losses = [row["train/loss_nats_per_token"] for row in rows_of(tmp_path / "straight" / whole.history)[1:]]
    assert sum(losses[-4:]) < sum(losses[:4])
