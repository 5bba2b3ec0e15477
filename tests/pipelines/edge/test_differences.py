"""How two versions differ: told from the first to the second, and what was not recorded is not made up."""

from pathlib import Path

import pytest

from pipelines.edge.differences import Side, Weights, changed, compare, difference
from pipelines.edge.facts import Facts
from pipelines.edge.home import Home
from pipelines.edge.registry import WEIGHTS, Registry
from steps.core.models import load_model
from tests.facts import OUTCOME, facts, known
from tests.tiny_models import tiny_model

NOT_COMPARED = Weights(same=False, why_not="not here")


def side(name: str, found: Facts | None = None, **more: object) -> Side:
    return Side.model_validate({"name": name, "facts": found, **more})


def test_only_changed_keys_are_shown_and_a_missing_one_is_none() -> None:
    one = {"train": {"learning_rate": 0.1, "params": {"method": "full"}}, "seed": 1}
    two = {"train": {"learning_rate": 0.2, "params": {"method": "lora", "rank": 8}}, "seed": 1}
    assert changed(one, two) == {
        "train.learning_rate": (0.1, 0.2),
        "train.params.method": ("full", "lora"),
        "train.params.rank": (None, 8),
    }
    assert changed(one, one) == {}


def test_losses_stand_side_by_side_and_a_task_that_one_lacks_has_no_change() -> None:
    found = compare(
        side("1", losses={"laws": 3.0, "old": 1.0}), side("2", losses={"laws": 2.5, "new": 2.0}), NOT_COMPARED
    )
    assert [(row.task, row.first, row.second, row.change) for row in found.metrics] == [
        ("laws", 3.0, 2.5, -0.5),
        ("old", 1.0, None, None),
        ("new", None, 2.0, None),
    ]


def test_batches_documents_and_tokens_are_told_by_task() -> None:
    first = side("1", facts(outcome=None, sources=None), consumed={"laws": ("0001-a", "0002-b")})
    second = side("2", facts(), consumed={"laws": ("0001-a", "0003-c"), "news": ("0001-d",)})
    laws, news, general = compare(first, second, NOT_COMPARED).data
    assert (laws.task, laws.only_first, laws.only_second) == ("laws", ("0002-b",), ("0003-c",))
    assert (laws.documents, laws.tokens) == ((None, 20), (None, 700))
    assert (news.task, news.only_second) == ("news", ("0001-d",))
    assert (general.documents, general.tokens) == ((None, 9), (None, 300))


def test_code_and_libraries_are_compared_where_both_were_recorded() -> None:
    other = facts(
        code="d" * 40, code_digests={"train": "t2", "mix": "m1"}, libraries={"torch": "2.9.1", "numpy": "2.1.0"}
    )
    found = compare(side("1", facts()), side("2", other), NOT_COMPARED)
    assert found.code == ("c" * 40, "d" * 40)
    assert found.stages == ("train",)
    assert found.libraries == {"torch": ("2.9.0", "2.9.1")}
    older = compare(side("1", facts(libraries=None, code_digests={})), side("2", other), NOT_COMPARED)
    assert (older.stages, older.libraries) == (None, None)


def test_a_version_does_not_differ_from_itself(tmp_path: Path) -> None:
    registry = known(tmp_path)
    found = difference(registry, "1", "1")
    assert (found.recipe, found.weights) == (None, Weights(same=True)), "the recipe of these was not recorded"
    assert compare(side("1", facts()), side("1", facts()), NOT_COMPARED).recipe == {}
    assert all(row.change == 0.0 for row in found.metrics)
    assert not any(row.only_first or row.only_second for row in found.data)


def test_the_base_has_no_recipe_and_no_batches(tmp_path: Path) -> None:
    registry = known(tmp_path)
    registry.tag("1", "perennial.base", "tiny:")
    found = difference(registry, "base", "1")
    assert {row.task: (len(row.only_first), len(row.only_second)) for row in found.data}["types"] == (0, 2)
    assert "has changed" in found.weights.why_not, "this line was made from a word, not from tiny:"
    with pytest.raises(ValueError, match="found `base` twice"):
        difference(registry, "base", "base")


def test_weights_are_compared_layer_by_layer(tmp_path: Path) -> None:
    registry = known(tmp_path)
    for number in ("1", "2"):
        folder = registry.folder(number) / WEIGHTS
        (folder / "model.safetensors").unlink()
        tiny_model(folder)
    network = load_model(folder)
    network.model.layers[1].mlp.up_proj.weight.data *= 1.5
    network.save_pretrained(folder)
    found = difference(registry, "1", "2").weights
    assert [layer.layer for layer in found.layers] == [0, 1, None]
    assert [layer.norm == 0.0 for layer in found.layers] == [True, False, True]
    assert found.all_layers is not None
    assert found.all_layers.norm == pytest.approx(found.layers[1].norm)


def test_a_version_whose_weights_are_gone_is_still_compared_in_the_rest(tmp_path: Path) -> None:
    registry = known(tmp_path)
    registry.retire("1")
    found = difference(registry, "1", "2")
    assert "removed by retention" in found.weights.why_not
    assert [row.task for row in found.metrics] == [row.task for row in OUTCOME.rows]


def test_an_empty_line_has_no_versions(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="there are: none yet"):
        difference(Registry(Home(tmp_path)), "1", "base")
