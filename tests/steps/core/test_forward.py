import contextlib
from pathlib import Path

import pytest
import torch

from steps.core.blocks import MicroBatch
from steps.core.forward import Averaged, Seen, StepFacts, Teacher, has_plain_head, outputs_at
from steps.core.models import load_model, token_losses
from tests.tiny_models import tiny_model

INPUT_IDS = torch.arange(4, 20).reshape(2, 8)
MASK = torch.tensor([[True] * 8, [False, False, True, True, False, False, False, True]])
BATCH = MicroBatch(INPUT_IDS, MASK, None, MASK, None, ["new/alpha", "replay/general"])
FACTS = StepFacts(step=1, num_steps=4, num_losses=20, num_replayed=6)


def test_logits_are_those_before_each_token_that_carries_loss(tmp_path: Path) -> None:
    network = load_model(tiny_model(tmp_path / "a"))
    with torch.no_grad():
        whole_BTV = network(input_ids=INPUT_IDS).logits
        outputs = outputs_at(network, BATCH, hidden=True)
        heads_NV = network.get_output_embeddings()(outputs.hidden)
    wanted_NV = torch.cat([whole_BTV[0, :7], whole_BTV[1, [1, 2, 6]]])
    assert torch.allclose(outputs.logits, wanted_NV, atol=1e-5)
    assert torch.allclose(heads_NV, wanted_NV, atol=1e-5)
    assert outputs_at(network, BATCH).hidden is None


def test_an_objective_sees_tokens_rows_and_sources(tmp_path: Path) -> None:
    network = load_model(tiny_model(tmp_path / "a"))
    seen = Seen(BATCH, outputs_at(network, BATCH), FACTS)
    assert seen.labels_N.tolist() == [*range(5, 12), 14, 15, 19]
    assert seen.row_N.tolist() == [0] * 7 + [1] * 3
    assert seen.replayed_N.tolist() == [False] * 7 + [True] * 3
    assert [int(seen.of(rows).sum()) for rows in ("all", "new", "replayed")] == [10, 7, 3]
    assert [seen.count(rows) for rows in ("all", "new", "replayed")] == [20, 14, 6]
    losses_BP = token_losses(network, INPUT_IDS, MASK)
    assert torch.allclose(seen.nats_N.sum(), losses_BP.sum(), rtol=1e-6)
    by_source = {source: (nats, count) for source, nats, count in seen.by_source()}
    assert by_source["replay/general"] == (pytest.approx(float(losses_BP[1].sum().detach()), rel=1e-6), 3)
    assert seen.changed_N is not None
    assert bool(seen.changed_N.all())


def test_a_teacher_is_asked_about_the_rows_meant_and_loaded_when_first_asked(tmp_path: Path) -> None:
    folder, loads = tiny_model(tmp_path / "a", seed=1), []

    def load() -> torch.nn.Module:
        loads.append(1)
        return load_model(folder)

    teacher = Teacher(load, contextlib.nullcontext, hidden=False)
    seen = Seen(BATCH, outputs_at(load_model(folder), BATCH), FACTS, {"parent": teacher})
    assert not loads
    replayed = seen.teacher("parent", "replayed")
    assert replayed is not None
    assert torch.allclose(replayed.logits, seen.logits_NV[seen.replayed_N], atol=1e-5)
    assert not replayed.logits.requires_grad
    assert seen.teacher("parent", "replayed") is replayed
    only_new = BATCH.only(torch.tensor([True, False]))
    assert only_new is not None
    assert (
        Seen(only_new, outputs_at(load_model(folder), only_new), FACTS, {"parent": teacher}).teacher(
            "parent", "replayed"
        )
        is None
    )
    assert loads == [1]


def test_a_teacher_whose_logits_nobody_reads_makes_none_and_the_same_states(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "a")
    both = Teacher(lambda: load_model(folder), contextlib.nullcontext, hidden=True).outputs(BATCH)
    states = Teacher(lambda: load_model(folder), contextlib.nullcontext, hidden=True, logits=False).outputs(BATCH)
    assert both.hidden is not None
    assert states.hidden is not None
    assert torch.equal(states.hidden, both.hidden)
    assert (len(both.logits), len(states.logits)) == (10, 0)


def test_a_teacher_that_is_forgotten_is_loaded_when_it_is_asked_again(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "a")
    teacher = Teacher(lambda: load_model(folder), contextlib.nullcontext, hidden=False)
    first = teacher.network
    teacher.forget()
    teacher.forget()
    assert teacher.network is not first


def test_an_average_computes_with_its_own_values_and_changes_nothing(tmp_path: Path) -> None:
    fast, slow = load_model(tiny_model(tmp_path / "a", seed=0)), load_model(tiny_model(tmp_path / "b", seed=1))
    averages = {name: tensor.detach() for name, tensor in slow.named_parameters()}
    with torch.no_grad():
        before = outputs_at(fast, BATCH)
        found = outputs_at(Averaged(fast, lambda: averages), BATCH, hidden=True)
        assert torch.allclose(found.logits, outputs_at(slow, BATCH).logits, atol=1e-5)
        assert torch.equal(outputs_at(fast, BATCH).logits, before.logits)


def test_without_logits_the_output_layer_is_passed_by_and_nothing_else_differs(tmp_path: Path) -> None:
    network = load_model(tiny_model(tmp_path / "a"))
    assert has_plain_head(network)
    whole = Seen(BATCH, outputs_at(network, BATCH), FACTS)
    lean = Seen(BATCH, outputs_at(network, BATCH, logits=False), FACTS)
    assert lean.outputs.logits.shape == (0, 260)
    assert torch.allclose(lean.nats_N, whole.nats_N, rtol=1e-6, atol=1e-6)
    assert torch.allclose(lean.logits_NV, whole.logits_NV, rtol=1e-6, atol=1e-6)  # made when they are asked for
    for name, parameter in network.named_parameters():
        left, right = (
            torch.autograd.grad(seen.nats_N.mean(), parameter, retain_graph=True)[0] for seen in (lean, whole)
        )
        assert torch.allclose(left, right, rtol=1e-4, atol=1e-6), name


def test_logits_that_are_bent_after_the_output_layer_are_noticed(tmp_path: Path) -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    shape = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    shape |= {"num_key_value_heads": 2, "head_dim": 8, "vocab_size": 260}
    assert not has_plain_head(Gemma2ForCausalLM(Gemma2Config(**shape, final_logit_softcapping=30.0)).eval())
    assert has_plain_head(Gemma2ForCausalLM(Gemma2Config(**shape, final_logit_softcapping=None)).eval())


def test_an_output_layer_that_is_watched_is_not_passed_by(tmp_path: Path) -> None:
    network, watched = load_model(tiny_model(tmp_path / "a")), []
    network.get_output_embeddings().register_forward_hook(lambda *_: watched.append(1))
    assert not has_plain_head(network)
    assert outputs_at(network, BATCH, logits=False).logits.shape == (10, 260)
    assert watched


def test_rows_behind_each_other_say_the_same_where_positions_keep_documents_apart(tmp_path: Path) -> None:
    network = load_model(tiny_model(tmp_path / "a"))
    positions_BT = torch.tensor([[0, 1, 2, 0, 1, 2, 3, 4], [0, 1, 2, 3, 4, 5, 0, 1]])
    apart = BATCH._replace(loss_mask=positions_BT > 0, position_ids=positions_BT)
    assert apart.in_one_row().input_ids.shape == (1, 16)
    found, wanted = outputs_at(network, apart.in_one_row()).logits, outputs_at(network, apart).logits
    assert found.shape == (12, 260)
    assert torch.allclose(found, wanted, atol=1e-5)
