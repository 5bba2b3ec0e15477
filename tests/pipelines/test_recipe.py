"""Recipes load, dump and load equal; what is no recipe is told where and why."""

from pathlib import Path

import pytest
import yaml

from pipelines.recipe import RECIPES, Recipe, find_recipe, load_recipe

EVERY = sorted(RECIPES.glob("*.yaml"))


@pytest.mark.parametrize("path", EVERY, ids=lambda path: path.stem)
def test_a_recipe_loads_dumps_and_loads_equal(path: Path) -> None:
    recipe = load_recipe(path)
    again = Recipe.model_validate(yaml.safe_load(yaml.safe_dump(recipe.dump())))
    assert again == recipe
    assert again.fingerprint() == recipe.fingerprint()
    assert recipe.name == path.stem


def test_a_knob_changes_the_fingerprint_and_a_name_does_not() -> None:
    content = load_recipe(RECIPES / "tiny.yaml").dump()
    fingerprint = Recipe.model_validate(content).fingerprint()
    assert Recipe.model_validate({**content, "name": "other"}).fingerprint() == fingerprint
    content["plan"]["mixture"]["replay_share"] = 0.26
    assert Recipe.model_validate(content).fingerprint() != fingerprint


def test_the_device_changes_what_auto_means_but_not_the_recipe() -> None:
    recipe = load_recipe(RECIPES / "default.yaml")
    assert recipe.resolved("cpu", Path()).train.precision == "float32"
    assert recipe.resolved("cpu", Path()).compare.precision == "float32"
    assert recipe.train.precision == "auto", "the recipe as written is what a fingerprint is made of"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: [", "wanted YAML"),
        ("- a\n- b", "wanted a mapping"),
        ("name: tiny", "base"),
        ("\ufffe", "wanted"),
    ],
)
def test_what_is_no_recipe_is_told_why(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "broken.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=told):
        load_recipe(tmp_path / "broken.yaml")


def test_hold_outs_are_written_as_training_writes_rows_where_the_recipe_does_not_say() -> None:
    content = load_recipe(RECIPES / "tiny.yaml").dump()
    content["mix"]["labelled"], content["evaluate"]["labelled"] = "plain", "chat"
    found = Recipe.model_validate(content).resolved("cpu", Path())
    assert (found.train.labelled, found.evaluate.labelled) == ("plain", "chat")


def test_a_recipe_is_found_by_its_name_or_its_path(tmp_path: Path) -> None:
    assert find_recipe("tiny", tmp_path) == RECIPES / "tiny.yaml"
    assert find_recipe(str(RECIPES / "tiny.yaml"), tmp_path) == RECIPES / "tiny.yaml"
    with pytest.raises(ValueError, match="give the path of a YAML file or one of: default"):
        find_recipe("nonsense", tmp_path)


def test_an_unknown_method_in_a_recipe_is_answered_with_those_that_exist(tmp_path: Path) -> None:
    text = (RECIPES / "tiny.yaml").read_text(encoding="utf-8").replace("method: reservoir", "method: resevoir")
    (tmp_path / "mine.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ValueError, match=r"replay.buffer: .*no method 'resevoir'; there are: .*reservoir"):
        load_recipe(tmp_path / "mine.yaml")


def test_what_is_told_of_a_candidate_does_not_change_what_a_refresh_is() -> None:
    content = load_recipe(RECIPES / "tiny.yaml").dump()
    quiet = Recipe.model_validate({**content, "compare": {"weights": False, "divergence_items": 0, "prompts": 0}})
    assert quiet.fingerprint() == Recipe.model_validate(content).fingerprint()


def test_how_pilots_are_run_does_not_change_what_a_refresh_is() -> None:
    content = load_recipe(RECIPES / "tiny.yaml").dump()
    changed = {**content, "pilot": {"validations": 3, "validation_items": 5, "schedule": {"method": "constant"}}}
    recipe = Recipe.model_validate(changed)
    assert recipe.fingerprint() == Recipe.model_validate(content).fingerprint()
    assert recipe.pilot.schedule is not None
    assert Recipe.model_validate(recipe.dump()) == recipe
