import pytest

from steps.core.rules import Rules, fits


def test_a_task_may_lose_nats_a_suite_points_and_a_name_its_own() -> None:
    rules = Rules.model_validate({"margins": {"legal-*": "3 %", "facts": "2 points"}})
    assert rules.allowed("news", "task", 2.0) == 0.05
    assert rules.allowed("legal-eu", "task", 2.0) == pytest.approx(0.06)
    assert rules.allowed("facts", "suite", 40.0) == 2.0
    assert rules.allowed("arc", "suite", 40.0) == 5.0


def test_many_tasks_are_groups_and_so_are_those_that_the_recipe_names() -> None:
    names = [f"task-{k}" for k in range(21)]
    assert Rules().grouped(names)
    assert not Rules().grouped(names[:20])
    assert Rules(groups={"all": ("*",)}).grouped(names[:2])


def test_canaries_must_hold_unless_the_recipe_says_otherwise() -> None:
    assert Rules().is_kept("canaries")
    assert not Rules().is_kept("facts")
    assert Rules(must_hold=("facts*",)).is_kept("facts, updated")
    assert not Rules(must_hold=()).is_kept("canaries")


def test_a_pattern_fits_as_in_a_shell() -> None:
    assert fits("facts, new", ("arc", "facts*"))
    assert not fits("Facts", ("facts",))
