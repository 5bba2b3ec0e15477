import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import steps.compare as stage
from steps.compare import CompareConfig, compare
from steps.core.artifacts import Model, Validation
from steps.core.differences import Changes
from steps.core.models import describe_model
from steps.core.shards import read_lines, write_lines
from steps.core.workspace import Workspace
from tests.builders import contents, prose
from tests.tiny_models import parent_model, tiny_model, tiny_workspace

QUICK = CompareConfig(divergence_items=3, item_tokens=20, prompts=1, prompt_tokens=4, samples=3, sample_tokens=5)
WORDS_OFF = CompareConfig(divergence_items=0, prompts=0)


def validation_of(workspace: Workspace, **texts: list[str]) -> Validation:
    folder = workspace.root / "data" / "split" / "validation"
    for task, found in texts.items():
        rows = [{"id": f"{k:02}", "task": task, "document": str(k), "text": text} for k, text in enumerate(found)]
        write_lines(folder / task / "validation.jsonl", rows)
    return Validation(
        digest="items", path=workspace.relative(folder), num_items={task: len(found) for task, found in texts.items()}
    )


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return tiny_workspace(tmp_path, "compare")


@pytest.fixture
def parent(workspace: Workspace) -> Model:
    return parent_model(workspace)


@pytest.fixture
def candidate(workspace: Workspace) -> Model:
    """The parent with its second layer's first matrix moved, by one direction."""
    folder = tiny_model(workspace.root / "candidate")
    tensors = load_file(folder / "model.safetensors")
    weight = tensors["model.layers.1.mlp.down_proj.weight"]
    weight += torch.outer(torch.ones(weight.shape[0]), torch.arange(weight.shape[1]) / 10)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    return describe_model(workspace, folder)


@pytest.fixture
def validation(workspace: Workspace) -> Validation:
    return validation_of(workspace, docs=[prose(k) for k in range(5)], general=[prose(k) for k in range(7, 11)])


def test_weights_and_words_are_compared(
    workspace: Workspace, parent: Model, candidate: Model, validation: Validation
) -> None:
    base = parent_model(workspace, "base", seed=5)
    found = compare(workspace, QUICK, parent, candidate, [base, parent], validation)
    assert [layer.layer for layer in found.layers] == [0, 1, None]
    assert [layer.norm == 0 for layer in found.layers] == [True, False, True]
    assert found.layers[1].effective_rank == pytest.approx(1.0, abs=0.01)
    assert found.whole is not None
    assert found.whole.norm == found.layers[1].norm
    assert list(found.farthest) == ["model.layers.1.mlp.down_proj"]
    assert {against: sorted(tasks) for against, tasks in found.divergence.items()} == {
        "base": ["docs", "general"],
        "parent": ["docs", "general"],
    }
    assert found.divergence["base"] != found.divergence["parent"]
    assert found.divergence["base"]["docs"].num_items == 3
    assert {each.task for each in found.contrasts} == {"docs", "general"}
    lines = list(read_lines(workspace.path / "matrices.jsonl"))
    assert [line["name"] for line in lines if line["norm"]] == ["model.layers.1.mlp.down_proj.weight"]
    assert Changes.model_validate(json.loads(found.model_dump_json())) == found


def test_the_means_are_those_of_the_items_on_disk(
    workspace: Workspace, parent: Model, candidate: Model, validation: Validation
) -> None:
    found = compare(workspace, QUICK, parent, candidate, [parent], validation)
    rows = [row for row in read_lines(workspace.path / "divergence.jsonl") if row["against"] == "parent"]
    docs = [row["nats"] / row["tokens"] for row in rows if row["task"] == "docs"]
    assert [row["item"] for row in rows if row["task"] == "docs"] == ["00", "01", "02"]
    assert found.divergence["parent"]["docs"].nats_per_token == pytest.approx(sum(docs) / 3)


@pytest.mark.parametrize("references", [0, 1])
def test_before_the_first_version_base_and_parent_are_one(
    workspace: Workspace, parent: Model, candidate: Model, validation: Validation, references: int
) -> None:
    found = compare(workspace, QUICK, parent, candidate, [parent][:references], validation)
    assert found.divergence["base"] == found.divergence["parent"]


def test_the_same_again_to_the_bit_but_for_the_seed(
    workspace: Workspace, parent: Model, candidate: Model, validation: Validation
) -> None:
    first, files = compare(workspace, QUICK, parent, candidate, [parent], validation), contents(workspace.path)
    assert compare(workspace, QUICK, parent, candidate, [parent], validation) == first
    assert contents(workspace.path) == files
    seeded = compare(replace(workspace, seed=21), QUICK, parent, candidate, [parent], validation)
    assert (seeded.whole, seeded.divergence) == (first.whole, first.divergence)
    assert seeded.contrasts != first.contrasts


def test_a_model_compared_with_itself_changed_nowhere(
    workspace: Workspace, parent: Model, validation: Validation
) -> None:
    found = compare(workspace, QUICK, parent, parent, [parent], validation)
    assert found.whole is not None
    assert (found.whole.norm, found.whole.effective_rank, found.whole.intruders) == (0.0, 0.0, 0)
    for tasks in found.divergence.values():
        assert [each.nats_per_token for each in tasks.values()] == pytest.approx([0.0, 0.0], abs=1e-6)
    assert [each.gap_nats for each in found.contrasts] == pytest.approx([0.0] * len(found.contrasts), abs=1e-6)


def test_everything_can_be_switched_off(
    workspace: Workspace, parent: Model, candidate: Model, validation: Validation
) -> None:
    off = WORDS_OFF.model_copy(update={"weights": False})
    found = compare(workspace, off, parent, candidate, [parent], validation)
    assert (found.whole, found.layers, found.divergence, found.contrasts) == (None, (), {}, ())
    assert contents(workspace.path) == {"divergence.jsonl": b"", "matrices.jsonl": b""}


def test_either_half_can_be_switched_off(
    workspace: Workspace, parent: Model, candidate: Model, validation: Validation
) -> None:
    weights = compare(workspace, WORDS_OFF, parent, candidate, [parent], validation)
    assert weights.layers
    assert not weights.divergence
    texts = compare(
        workspace, QUICK.model_copy(update={"divergence_items": 0}), parent, candidate, [parent], validation
    )
    assert texts.contrasts
    assert not texts.divergence


def test_without_a_budget_there_are_norms_alone(
    workspace: Workspace, parent: Model, candidate: Model, validation: Validation, caplog: pytest.LogCaptureFixture
) -> None:
    config = WORDS_OFF.model_copy(update={"decompose_teraflops": 1e-12})
    with caplog.at_level(logging.INFO):
        found = compare(workspace, config, parent, candidate, [parent], validation)
    assert found.layers[1].norm
    assert (found.layers[1].effective_rank, found.layers[1].intruders) == (None, None)
    assert (found.layers[1].num_matrices, found.layers[1].num_decomposed) == (7, 6), "what did not change is known"
    assert "1 matrices not decomposed; raise compare.decompose_teraflops" in caplog.text


def test_where_two_models_have_no_room_the_second_is_read_on_the_processor(
    workspace: Workspace, parent: Model, candidate: Model, validation: Validation, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = compare(workspace, QUICK, parent, candidate, [parent], validation)
    asked: list[float] = []
    monkeypatch.setattr(stage, "has_room", lambda device, num_bytes: bool(asked.append(num_bytes)))
    assert compare(workspace, QUICK, parent, candidate, [parent], validation) == usual
    assert asked == [4.0 * parent.num_parameters], "float32"


def test_items_shorter_than_a_prompt_are_passed_over(workspace: Workspace, parent: Model, candidate: Model) -> None:
    validation = validation_of(workspace, docs=["abc", prose(1), prose(2)])
    found = compare(workspace, QUICK, parent, candidate, [parent], validation)
    assert {each.text.split(" → ")[0] for each in found.contrasts} == {prose(1)[:4].strip()}


def test_personal_data_is_masked_where_texts_are_shown(workspace: Workspace, parent: Model, candidate: Model) -> None:
    validation = validation_of(workspace, docs=["jane.doe@example.org wrote to us about her order"])
    config = QUICK.model_copy(update={"prompt_tokens": 30})
    found = compare(workspace, config, parent, candidate, [parent], validation)
    assert found.contrasts
    assert not any("jane.doe" in each.text for each in found.contrasts)


def test_a_file_that_split_did_not_write_is_refused(
    workspace: Workspace, parent: Model, candidate: Model, validation: Validation
) -> None:
    other = validation.model_copy(update={"num_items": {"docs": 6}})
    with pytest.raises(ValueError, match=r"validation\.jsonl: wanted 6 items, found 5; run `perennial step split`"):
        compare(workspace, QUICK, parent, candidate, [parent], other)
