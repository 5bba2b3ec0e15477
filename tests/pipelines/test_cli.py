"""The command line's contract: verbs, exit codes, messages."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from pipelines.cli import app, state
from steps.core.method import method_names, slot_names

VERBS = ["init", "validate", "refresh", "land", "hold", "release", "discard", "status", "step", "methods", "schema"]
VERBS += ["promote", "rollback", "reproduce", "ui", "doctor"]


@pytest.fixture(autouse=True)
def _no_workspace_left_over() -> None:
    state.update(workspace=None, verbose=False)


def call(*words: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, list(words))
    return result.exit_code, result.output


def perennial(*words: str) -> subprocess.CompletedProcess[str]:
    script = "from pipelines.cli import main; main()"
    return subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_of_the_contract_is_there_and_explains_itself(verb: str) -> None:
    code, text = call(verb, "--help")
    assert code == 0
    assert "Usage:" in text


def test_help_imports_nothing_heavy() -> None:
    heavy = ("torch", "mlflow", "prefect", "dvc", "pandas", "pydantic")
    script = f"import sys, pipelines.cli; print([name for name in {heavy} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n", "import heavy libraries inside the verbs: --help must answer within a second"


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


def test_a_folder_without_a_workspace_is_a_usage_error(tmp_path: Path) -> None:
    code, text = call("-w", str(tmp_path), "status")
    assert code == 2
    assert "perennial init" in text


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


def test_a_batch_is_held_released_and_discarded(tmp_path: Path) -> None:
    where = ("-w", str(tmp_path / "w"))
    call("init", str(tmp_path / "w"))
    page = tmp_path / "page.jsonl"
    page.write_text('{"key": "a", "text": "one"}\n', encoding="utf-8")
    call(*where, "land", "python-docs", str(page))
    assert "held" in call(*where, "hold", "python-docs", "0001", "--why", "a look first")[1]
    assert "released" in call(*where, "release", "python-docs", "0001", "--why", "fine")[1]
    assert "discarded" in call(*where, "discard", "python-docs", "0001", "--why", "spam")[1]
    assert perennial(*where, "hold", "python-docs", "0009", "--why", "x").returncode == 1
    assert call(*where, "hold", "python-docs", "0001")[0] == 2, "a reason is required"


@pytest.mark.pipeline
def test_refresh_from_the_shell_tells_its_verdict_and_does_not_repeat_it(tmp_path: Path) -> None:
    from tests.workspaces import land_rows, rows, tiny, workspace

    home = workspace(tmp_path, documents=60)
    where = ("-w", str(home.root))
    dry = perennial(*where, "refresh", "tiny", "--dry-run", "--json")
    assert json.loads(dry.stdout)["batches"]["types"], dry.stderr
    ran = perennial(*where, "refresh", "tiny", "--json")
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["kind"] == "accepted"
    started = time.monotonic()
    again = perennial(*where, "refresh", "tiny", "--json")
    assert (again.returncode, json.loads(again.stdout)["kind"]) == (0, "unchanged")
    assert time.monotonic() - started < 60
    assert json.loads(perennial(*where, "status", "--json").stdout)["champion"] == "1"
    assert perennial(*where, "doctor", "--json").returncode == 0

    land_rows(home, "types", rows("types", 60, 60))
    harsh = tmp_path / "harsh.yaml"
    harsh.write_text(yaml.safe_dump(tiny(train={"learning_rate": 0.5}, plan={"replay_share": 0.0}).dump()))
    assert perennial(*where, "refresh", str(harsh), "--json").returncode == 10
    repeated = perennial(*where, "refresh", str(harsh))
    assert repeated.returncode == 10
    assert "REJECTED" in repeated.stdout
    assert "judged before" in repeated.stderr
    assert json.loads(perennial(*where, "status", "--json").stdout)["champion"] == "1"
