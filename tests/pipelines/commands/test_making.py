"""Verbs that make and check."""

import json
from pathlib import Path

import pytest

from steps.core.method import method_names, slot_names
from tests.command_line import call, perennial


def test_an_unknown_recipe_is_a_usage_error_that_names_those_that_exist() -> None:
    code, text = call("validate", "nonsense")
    assert code == 2
    assert "default" in text
    assert "tiny" in text


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [("learning_rate", "learning_rat", "unknown key"), ("replay_share: 0.25", "replay_share: 25", "replay_share")],
)
def test_a_misspelt_key_and_a_wrong_unit_are_named(tmp_path: Path, right: str, wrong: str, told: str) -> None:
    source = Path("pipelines/recipes/tiny.yaml").read_text(encoding="utf-8")
    recipe = tmp_path / "mine.yaml"
    recipe.write_text(source.replace(right, wrong), encoding="utf-8")
    code, text = call("validate", str(recipe))
    assert code == 2
    assert wrong.split(":", maxsplit=1)[0] in text
    assert told in text


def test_methods_lists_what_is_on_disk() -> None:
    code, text = call("methods", "--json")
    found = json.loads(text)
    assert code == 0
    assert {slot: sorted(names) for slot, names in found.items()} == {slot: method_names(slot) for slot in slot_names()}
    assert all(line for names in found.values() for line in names.values())


def test_the_schema_describes_every_section() -> None:
    code, text = call("schema")
    assert code == 0
    assert {"ingest", "split", "plan", "train", "gate"} <= set(json.loads(text)["properties"])


def test_init_makes_a_workspace_once(tmp_path: Path) -> None:
    code, text = call("init", str(tmp_path / "mine"))
    assert code == 0
    assert "perennial.yaml" in text
    assert (tmp_path / "mine" / "data" / "tasks.yaml").exists()
    assert perennial("init", str(tmp_path / "mine")).returncode == 1


def test_land_says_what_it_did_and_refuses_an_unknown_task(tmp_path: Path) -> None:
    call("init", str(tmp_path / "w"))
    page = tmp_path / "page.jsonl"
    page.write_text('{"key": "a", "text": "one"}\n', encoding="utf-8")
    assert call("-w", str(tmp_path / "w"), "land", "python-docs", str(page))[1].startswith("python-docs: landed 0001-")
    assert "nothing new" in call("-w", str(tmp_path / "w"), "land", "python-docs", str(page))[1]
    ran = perennial("-w", str(tmp_path / "w"), "land", "python-dogs", str(page))
    assert ran.returncode == 1
    assert "python-docs" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_clean_explains_every_rules_verdict_on_single_documents_and_writes_nothing(tmp_path: Path) -> None:
    call("init", str(tmp_path / "w"))
    page = tmp_path / "page.jsonl"
    page.write_text('{"key": "a", "text": "write to ada@example.org"}\nno json\n', encoding="utf-8")
    before = sorted(path for path in (tmp_path / "w").rglob("*") if ".perennial" not in path.parts)
    words = ("-w", str(tmp_path / "w"), "step", "clean", "--explain", str(page), "--recipe", "tiny")
    code, text = call(*words, "--json")
    assert code == 0, text
    document, other = json.loads(text)
    assert (document["key"], document["verdict"]) == ("a", "too-short")
    assert [one["rule"] for one in document["rules"]][:2] == ["known", "quality/basic"]
    assert other == {"where": "page.jsonl:2", "verdict": "quarantined: invalid-json", "excerpt": "no json"}
    assert "ada@" not in text + call(*words)[1]
    after = sorted(path for path in (tmp_path / "w").rglob("*") if ".perennial" not in path.parts)
    assert after == before
    code, text = call("-w", str(tmp_path / "w"), "step", "split", "--explain", str(page))
    assert code == 2
    assert "rules of clean" in text
