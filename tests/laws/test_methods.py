"""House rules of methods: a file is a method, cited, documented, and it writes its own name back."""

import importlib
from pathlib import Path

import pytest

from steps.core.method import METHODS, Method, load_method, method_names, slot_names

EVERY = [(slot, name) for slot in slot_names() for name in method_names(slot)]


@pytest.mark.parametrize(("slot", "name"), EVERY)
def test_a_method_is_cited_and_says_its_rule(slot: str, name: str) -> None:
    method = load_method(slot, name)
    assert method.cite.title, f"{slot}/{name}: a method carries its citation"
    doc = method.__doc__ or ""
    assert "Reduces to:" in doc, f"{slot}/{name}: the docstring says what it reduces to at its limit (or `none`)"
    assert "Rule:" in doc, f"{slot}/{name}: the docstring states the rule"


@pytest.mark.parametrize(("slot", "name"), EVERY)
def test_a_method_is_frozen_and_refuses_unknown_knobs(slot: str, name: str) -> None:
    config = load_method(slot, name).model_config
    assert config.get("frozen"), f"{slot}/{name}: a method keeps no state"
    assert config.get("extra") == "forbid", f"{slot}/{name}: a misspelt knob must not pass"


@pytest.mark.parametrize(("slot", "name"), EVERY)
def test_every_knob_is_described(slot: str, name: str) -> None:
    for knob, field in load_method(slot, name).model_fields.items():
        assert field.description, f"{slot}/{name}.{knob}: a knob has a description with its unit"


@pytest.mark.parametrize("slot", slot_names())
def test_a_slot_states_its_contract(slot: str) -> None:
    doc = importlib.import_module(f"steps.methods.{slot}").__doc__ or ""
    assert len(doc) > 40, f"steps/methods/{slot}/__init__.py: a slot says what it decides, its verbs, shapes and units"


@pytest.mark.parametrize("slot", slot_names())
def test_a_slot_is_open_because_it_has_two_methods(slot: str) -> None:
    assert len(method_names(slot)) >= 2, f"{slot}: a slot is opened when its second method arrives"


def test_every_folder_of_methods_is_a_slot() -> None:
    folders = {path.name for path in METHODS.iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert folders == set(slot_names())


def test_an_unknown_method_is_answered_with_those_that_exist() -> None:
    with pytest.raises(ValueError, match="no method 'magic'; there are: full, half, layers, lora"):
        load_method("params", "magic")


def test_no_method_overrides_how_it_is_written() -> None:
    for slot, name in EVERY:
        assert load_method(slot, name).method_name() == name
        assert issubclass(load_method(slot, name), Method)
        assert (Path(METHODS) / slot / f"{name.replace('-', '_')}.py").exists()
