import json
from pathlib import Path
from typing import Any

import pytest

from steps.core.contracts import Contract, short_name


def suite(tmp_path: Path, *expectations: dict[str, Any]) -> Path:
    path = tmp_path / "pages.json"
    path.write_text(json.dumps({"name": "pages", "expectations": expectations}))
    return path


SHORT = {"type": "expect_column_value_lengths_to_be_between", "kwargs": {"column": "text", "max_value": 3}}
KNOWN = {
    "type": "expect_column_values_to_be_in_set",
    "kwargs": {"column": "text", "value_set": {"$PARAMETER": "words"}},
}
COLUMNS = {"type": "expect_table_columns_to_match_set", "kwargs": {"column_set": ["text"], "exact_match": True}}


def test_a_row_is_named_by_the_first_expectation_that_it_breaks(tmp_path: Path) -> None:
    contract = Contract(suite(tmp_path, KNOWN, COLUMNS, SHORT), {"words": ["a", "long word"]})
    assert contract.check([{"text": "a"}, {"text": "long word"}, {"text": "other word"}]) == [
        None,
        "lengths-between-text",
        "in-set-text",
    ]


def test_portions_add_up_to_the_whole(tmp_path: Path) -> None:
    rows = [{"text": "x" * (number % 7)} for number in range(70)]
    path = suite(tmp_path, SHORT, COLUMNS)
    whole, cut = Contract(path, {}), Contract(path, {})
    reasons = whole.check(rows)
    assert cut.check(rows[:23]) + cut.check(rows[23:]) == reasons
    assert cut.result() == whole.result()
    assert whole.result()["results"][0]["result"]["unexpected_count"] == 30


def test_an_expectation_whose_parameter_is_not_given_is_left_out(tmp_path: Path) -> None:
    path = suite(tmp_path, KNOWN, SHORT)
    assert Contract(path, {"words": []}).check([{"text": "any"}]) == [None]
    assert Contract(path, {"words": []}).digest != Contract(path, {"words": ["a"]}).digest


def test_a_table_that_breaks_its_contract_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"expect_table_columns_to_match_set .* failed for the whole table"):
        Contract(suite(tmp_path, COLUMNS), {}).check([{"text": "a", "more": "b"}])


@pytest.mark.parametrize(
    ("expectation", "said"),
    [
        ({"type": "expect_column_values_to_be_unique", "kwargs": {"column": "text"}}, "compares rows"),
        ({"type": "expect_column_mean_to_be_between", "kwargs": {"column": "text"}}, "compares rows"),
        ({"type": "expect_column_values_to_be_nice", "kwargs": {"column": "text"}}, "is no expectation that"),
        ({"type": "expect_column_values_to_match_regex", "kwargs": {"column": "text", "regex": "("}}, "failed for"),
        ({"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "nope"}}, "failed for"),
        ({"type": "expect_column_values_to_not_be_null"}, "refuses the suite: 1 validation error"),
    ],
)
def test_what_cannot_be_checked_is_refused(tmp_path: Path, expectation: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Contract(suite(tmp_path, expectation), {}).check([{"text": "a"}])


def test_a_missing_or_broken_suite_is_named(tmp_path: Path) -> None:
    path = suite(tmp_path, SHORT)
    with pytest.raises(ValueError, match="no such contract; there are: pages"):
        Contract(tmp_path / "nope.json", {})
    path.write_text("{}")
    with pytest.raises(ValueError, match=r"wanted \{name, expectations"):
        Contract(path, {})


def test_a_short_name_says_what_and_which_column() -> None:
    expectation = {"type": "expect_column_values_to_not_match_regex", "kwargs": {"column": "time"}}
    assert short_name(expectation) == "not-match-regex-time"
