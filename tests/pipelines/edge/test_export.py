"""A version as a folder: transformers loads it and it says the same; nothing stands in it that nobody reads."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from pipelines.edge.export import export
from pipelines.edge.registry import WEIGHTS, Registry
from steps.core.models import INDEX, chat_template, digest_of_model, load_model
from tests.registered import TEMPLATE, registered


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return registered(tmp_path_factory.mktemp("line") / "w")


def test_transformers_loads_it_and_it_says_what_the_registered_version_says(registry: Registry, tmp_path: Path) -> None:
    found = export(registry, "1", tmp_path / "out")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out")
    exported = AutoModelForCausalLM.from_pretrained(tmp_path / "out", use_safetensors=True).eval()
    registered = load_model(registry.folder("1") / WEIGHTS)
    input_ids = torch.tensor([tokenizer("The assert statement").input_ids])
    assert torch.equal(exported(input_ids).logits, registered(input_ids).logits)
    assert tokenizer.chat_template == TEMPLATE
    assert found.digest == digest_of_model(tmp_path / "out") == registry.get("1").tags["perennial.weights"]


def test_the_index_names_every_file_of_weights(registry: Registry, tmp_path: Path) -> None:
    export(registry, "1", tmp_path / "out")
    named = set(json.loads((tmp_path / "out" / INDEX).read_text())["weight_map"].values())
    assert named == {path.name for path in (tmp_path / "out").glob("*.safetensors")}
    assert len(named) > 1


def test_it_holds_what_others_read_and_nothing_else(registry: Registry, tmp_path: Path) -> None:
    found = export(registry, "1", tmp_path / "out")
    beside = {name for name in found.files if not name.endswith(".safetensors")}
    wanted = {"config.json", "generation_config.json", "tokenizer.json", "tokenizer_config.json", INDEX}
    assert beside == wanted | {"chat_template.jinja", "README.md"}
    assert found.files == {path.name: path.stat().st_size for path in (tmp_path / "out").iterdir()}


def test_the_template_is_where_either_kind_of_reader_looks(registry: Registry, tmp_path: Path) -> None:
    export(registry, "1", tmp_path / "out")
    assert (tmp_path / "out/chat_template.jinja").read_text() == TEMPLATE
    assert json.loads((tmp_path / "out/tokenizer_config.json").read_text())["chat_template"] == TEMPLATE
    assert chat_template(tmp_path / "out") == TEMPLATE


def test_no_place_on_this_machine_is_told_and_the_card_is_its_own(registry: Registry, tmp_path: Path) -> None:
    export(registry, "1", tmp_path / "out")
    assert "/home/me" not in (tmp_path / "out/config.json").read_text()
    card = (tmp_path / "out/README.md").read_text()
    assert card.startswith("---\nlibrary_name: transformers\n")
    assert ", version 1\n" in card


def test_a_folder_that_holds_something_is_left_as_it_is(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    export(registry, "1", tmp_path / "empty")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(ValueError, match="wanted a new or an empty folder"):
        export(registry, "1", tmp_path / "empty")
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="wanted a new or an empty folder"):
        export(registry, "1", tmp_path / "link")
    assert sorted(set(tmp_path.rglob("*")) - {tmp_path / "link"}) == before


def test_weights_that_are_not_those_registered_are_not_exported(registry: Registry, tmp_path: Path) -> None:
    registry.tag("1", "perennial.weights", "0" * 64)
    try:
        with pytest.raises(RuntimeError, match="registered with 0000"):
            export(registry, "1", tmp_path / "out")
    finally:
        registry.tag("1", "perennial.weights", digest_of_model(registry.folder("1") / WEIGHTS))
    assert list(tmp_path.iterdir()) == []
