"""Evaluate with suites: what they add to a report, and what of a recipe decides it."""

import re
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from pipelines.recipe import RECIPES, Recipe, load_recipe
from steps.core.artifacts import GateItems, Model
from steps.core.models import describe_model
from steps.core.shards import read_lines
from steps.core.workspace import Workspace
from steps.evaluate import EvaluateConfig, evaluate
from steps.methods.suite._tasks import read_task
from steps.methods.suite.canaries import Canary
from steps.methods.suite.facts import Fact
from steps.methods.suite.instructions import Instruction
from tests.steps.methods.suite.examinees import chat_model, write_rows
from tests.tiny_models import parent_model, tiny_workspace

NO_ITEMS = GateItems(digest="none", path="data/split/gate", anchor={}, fresh={})
CANARIES = {"method": "canaries", "file": "canaries.jsonl", "answer_tokens": 4}
SHORT = {"method": "instructions", "limit": 3, "answer_tokens": 4}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    anything = {"wanted": ".*", "match": "regex"}
    write_rows(tmp_path / "canaries.jsonl", [{"id": str(k), "prompt": f"Say {k}.", **anything} for k in range(2)])
    return replace(tiny_workspace(tmp_path, "evaluate/model"), code="code")


@pytest.fixture
def chat(workspace: Workspace) -> Model:
    return describe_model(workspace, chat_model(workspace.root / "chat"))


def config(*suites: dict[str, object]) -> EvaluateConfig:
    return EvaluateConfig.model_validate({"sample_tokens": 0, "suites": list(suites)})


def test_a_report_tells_of_every_suite(workspace: Workspace, chat: Model) -> None:
    report = evaluate(workspace, config(CANARIES, SHORT), chat, NO_ITEMS)
    rows = list(read_lines(workspace.at(report.path) / "suites.jsonl"))
    assert {name: (suite.num_items, suite.metric) for name, suite in report.suites.items()} == {
        "canaries": (2, "accuracy"),
        "instructions": (3, "accuracy"),
    }
    assert report.suites["canaries"].score == 1.0
    assert [(row["suite"], row["id"]) for row in rows] == sorted((row["suite"], row["id"]) for row in rows)


def test_a_suite_changes_the_report_and_not_the_losses_in_its_cache(workspace: Workspace, chat: Model) -> None:
    without = evaluate(workspace, config(), chat, NO_ITEMS)
    beside = evaluate(workspace, config(CANARIES), chat, NO_ITEMS)
    assert beside.digest != without.digest
    assert without.suites == {}
    assert evaluate(workspace, config(), chat, NO_ITEMS) == without


def test_by_default_a_chat_model_is_asked_to_follow_instructions_and_another_is_not(workspace: Workspace) -> None:
    [suite] = EvaluateConfig().suites
    assert suite.title == "instructions"
    assert evaluate(workspace, EvaluateConfig(sample_tokens=0), parent_model(workspace), NO_ITEMS).suites == {}


def test_a_suite_writes_its_name_back() -> None:
    found = config(CANARIES, {**CANARIES, "name": "second"}, SHORT)
    assert EvaluateConfig.model_validate(found.model_dump(mode="json")) == found


def test_two_suites_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="two suites are called 'canaries'; give one of them another name"):
        config(CANARIES, CANARIES)


def test_what_a_suite_reads_is_part_of_what_a_run_is(workspace: Workspace) -> None:
    content = load_recipe(RECIPES / "tiny.yaml").dump()
    recipe = Recipe.model_validate({**content, "evaluate": {**content["evaluate"], "suites": [CANARIES]}})
    before = recipe.resolved("cpu", workspace.root).evaluate
    write_rows(workspace.root / "canaries.jsonl", [{"prompt": "Say 3.", "wanted": "3"}])
    after = recipe.resolved("cpu", workspace.root).evaluate
    assert before.model_dump() != after.model_dump()
    assert recipe.evaluate.suites[0].model_dump()["digest"] is None


PAGE = (Path(__file__).resolve().parents[2] / "docs" / "evaluation.md").read_text(encoding="utf-8")


def test_the_recipe_of_the_documentation_is_one() -> None:
    example = yaml.safe_load(re.findall(r"```yaml\n(evaluate:.*?)```", PAGE, flags=re.DOTALL)[0])
    found = EvaluateConfig.model_validate(example["evaluate"])
    assert [suite.title for suite in found.suites] == ["instructions", "canaries", "facts", "harness"]


def test_the_questions_of_the_documentation_are_some() -> None:
    kinds = [Canary, Instruction, Fact]  # in the order of the page
    blocks = re.findall(r"```json\n(.*?)```", PAGE, flags=re.DOTALL)
    for kind, block in zip(kinds, blocks, strict=True):
        assert [kind.model_validate_json(line) for line in block.splitlines()]


def test_the_task_of_the_documentation_is_one(tmp_path: Path) -> None:
    [example] = re.findall(r"```yaml\n# data/suites/arc-easy.yaml\n(.*?)```", PAGE, flags=re.DOTALL)
    (tmp_path / "arc-easy.yaml").write_text(example, encoding="utf-8")
    write_rows(tmp_path / "arc-easy.jsonl", [{"prompt": "?", "choices": ["a", "b"], "answer": 1}])
    assert read_task(tmp_path, "arc-easy.yaml", "suite harness").config["output_type"] == "multiple_choice"
