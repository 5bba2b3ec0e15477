from pathlib import Path

import pytest

from steps.core.front import Reading
from steps.core.likelihood import Encoded, first_context, summed_losses
from steps.core.models import load_model, load_tokenizer
from steps.core.validated import Validated
from tests.tiny_models import TEXT, tiny_model, tiny_workspace, validation_items


def nats_per_token(model: Path, text: str, num_tokens: int) -> float:
    tokenizer = load_tokenizer(model)
    ids = tuple(tokenizer(text, add_special_tokens=False)["input_ids"][:num_tokens])
    one = Encoded(name="one", tokens=ids, num_bytes=1)
    return summed_losses(load_model(model), [one], first_context(tokenizer))[0] / len(ids)


def test_the_change_is_the_mean_of_the_items_changes(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path, "merge")
    parent, other = tiny_model(tmp_path / "parent", 0), tiny_model(tmp_path / "other", 1)
    found = Validated(workspace, parent, validation_items(workspace)).changes(other, Reading(2, 8))["alpha"]
    texts = [TEXT[0:20], TEXT[1:22]]
    changes = [nats_per_token(other, text, 8) - nats_per_token(parent, text, 8) for text in texts]
    assert found.mean_nats == pytest.approx(sum(changes) / 2, abs=1e-6)
    assert found.error_nats == pytest.approx(abs(changes[0] - changes[1]) / 2, abs=1e-6), "of two items, by hand"
    assert found.num_items == 2


def test_a_model_changes_nothing_against_itself(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path, "merge")
    parent = tiny_model(tmp_path / "parent", 0)
    found = Validated(workspace, parent, validation_items(workspace)).changes(parent, Reading())["alpha"]
    assert (found.mean_nats, found.error_nats, found.num_items) == (0.0, 0.0, 3)


def test_one_item_has_no_spread(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path, "merge")
    parent, other = tiny_model(tmp_path / "parent", 0), tiny_model(tmp_path / "other", 1)
    found = Validated(workspace, parent, validation_items(workspace)).changes(other, Reading(1, 8))["alpha"]
    assert found.error_nats == 0.0
