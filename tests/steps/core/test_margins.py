import pytest
from pydantic import ValidationError

from steps.core.artifacts import Frozen
from steps.core.margins import REST, Margin, Written, groups_of, margin_of


class Recipe(Frozen):
    margin: Written


@pytest.mark.parametrize(
    ("text", "amount", "unit", "written"),
    [
        (0.05, 0.05, "nats", 0.05),
        ("0.05", 0.05, "nats", 0.05),
        ("0.05 nats", 0.05, "nats", 0.05),
        ("0.05 nats/token", 0.05, "nats", 0.05),
        ("2 points", 2.0, "points", "2.0 points"),
        ("1 point", 1.0, "points", "1.0 points"),
        ("3 %", 3.0, "per cent", "3.0 %"),
        ("3%", 3.0, "per cent", "3.0 %"),
        ("2.5 per cent", 2.5, "per cent", "2.5 %"),
    ],
)
def test_a_margin_is_plain_text_and_comes_back_the_same(
    text: object, amount: float, unit: str, written: object
) -> None:
    recipe = Recipe.model_validate({"margin": text})
    assert (recipe.margin.amount, recipe.margin.unit) == (amount, unit)
    assert recipe.model_dump(mode="json") == {"margin": written}
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


@pytest.mark.parametrize("text", ["0", "-1 nats", "2 mails", "points", "1e", True, None, "nan", [1]])
def test_what_is_no_margin_is_refused(text: object) -> None:
    with pytest.raises(ValidationError):
        Recipe.model_validate({"margin": text})


def test_per_cent_are_of_what_the_other_model_has() -> None:
    assert Margin(amount=3, unit="per cent").allowed("legal", "nats", 2.5) == pytest.approx(0.075)
    assert Margin(amount=10, unit="per cent").allowed("facts", "points", 40.0) == pytest.approx(4.0)
    assert Margin(amount=2, unit="points").allowed("facts", "points", 40.0) == 2.0


def test_a_unit_that_something_does_not_have_is_refused() -> None:
    with pytest.raises(ValueError, match=r"facts: a suite's score is in points, found 0\.1 nats; write points or %"):
        Margin(amount=0.1).allowed("facts", "points", 40.0)
    with pytest.raises(ValueError, match="docs: a task's loss is in nats, found 2 points; write nats or %"):
        Margin(amount=2, unit="points").allowed("docs", "nats", 3.0)


def test_a_name_goes_before_a_pattern_and_the_first_pattern_before_the_next() -> None:
    margins = {"legal-*": Margin(amount=1), "legal-us": Margin(amount=2), "*": Margin(amount=3)}
    found = [margin_of(margins, name, Margin(amount=9)).amount for name in ("legal-us", "legal-eu", "news")]
    assert found == [2, 1, 3]
    assert margin_of({}, "news", Margin(amount=9)).amount == 9


def test_tasks_of_no_group_are_one_of_their_own() -> None:
    found = groups_of(["b-2", "a", "b-1", "c"], {"bs": ["b-*"], "none": ["x"]})
    assert found == {"bs": ("b-1", "b-2"), REST: ("a", "c")}
    assert groups_of(["a", "b"], {}) == {REST: ("a", "b")}


def test_a_task_in_two_groups_is_refused() -> None:
    with pytest.raises(ValueError, match="b-1 is in bs and in ones"):
        groups_of(["b-1"], {"bs": ["b-*"], "ones": ["*-1"]})
