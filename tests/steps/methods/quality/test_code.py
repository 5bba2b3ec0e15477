import warnings
from pathlib import Path

import pytest

from steps.core.texts import Texts
from steps.methods.quality import FIT, Judgement
from steps.methods.quality.code import Code

GOOD = "import os\n\n\ndef home() -> str:\n    return os.sep\n"
LINT = "import os\nimport sys\n\nprint(name)\n"  # two unused imports and an undefined name on three lines


def judge(text: str, **knobs: object) -> Judgement:
    return Code.model_validate(knobs).judge(Texts([text]), Path())[0]


def test_source_that_parses_stays_and_source_that_does_not_is_dropped_at_its_line() -> None:
    assert judge(GOOD).reason == ""
    broken = GOOD + "def f(:\n    pass\n"
    found = judge(broken)
    assert (found.reason, found.found, found.limit) == ("code-parse", 1.0, 0.0)
    assert broken[slice(*(found.span or (0, 0)))] == "def f(:"


def test_findings_are_counted_for_each_line() -> None:
    found = judge(LINT)
    assert (found.reason, found.found, found.limit) == ("code-lint", 1.0, 0.1)
    assert LINT[slice(*(found.span or (0, 0)))] == "import os"
    assert judge(LINT, max_findings_per_line=1).reason == ""
    assert judge(LINT, max_findings_per_line=None).reason == ""


def test_nothing_is_run(tmp_path: Path) -> None:
    assert judge(f"open({str(tmp_path / 'made')!r}, 'w')\n").reason == ""
    assert list(tmp_path.iterdir()) == []


def test_a_warning_about_a_text_is_nobody_s() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert judge("x = '\\d'\nassert (x, 'always')\n", max_findings_per_line=None).reason == ""


@pytest.mark.parametrize(
    ("language", "code", "parses"),
    [
        ("json", '{"a": [1, 2.5e9, null]}', True),
        ("json", '{"a": NaN}', False),
        ("json", '{"a": 1,}', False),
        ("json", "12", False),
        ("json", "[" * 100_000, False),
        ("json", "[" + "9" * 10_000 + "]", True),
        ("yaml", "a: 1\nb: [x, y]\n", True),
        ("yaml", "- a\n- b\n--- \nc: d\n", True),
        ("yaml", "Some prose, with a comma.\n", False),
        ("yaml", "# nothing\n", False),
        ("yaml", "a: [1\n", False),
        ("yaml", "a: &x 1\nb: *y\n", True),  # an alias is not followed
        ("yaml", "!!python/object/apply:os.system {args: [exit]}", True),  # nor a tag built
        ("yaml", "[" * 100_000, False),
        ("toml", "[a]\nb = 1\n", True),
        ("toml", "a = \n", False),
        ("toml", "# nothing\n", False),
        ("toml", "a" + ".a" * 50_000 + " = 1\n", False),
    ],
)
def test_other_languages_parse_or_do_not(language: str, code: str, parses: bool) -> None:
    reason = "" if parses else "code-parse"
    assert judge(code, languages=[language]).reason == reason
    assert judge(f"```{language}\n{code}\n```", where="fences", languages=[language]).reason == reason


@pytest.mark.parametrize(
    "code",
    [
        "(" * 50_000,
        "-" * 50_000 + "1",
        "1+" * 50_000 + "1",
        "x" + ".x" * 50_000,
        "not " * 40_000 + "1",
        "lambda:" * 25_000 + "1",
        "".join(" " * depth + "if x:\n" for depth in range(300)),
        'f"' + "{x}" * 60_000 + '"',
        "x = " + "1" * 10_000,
        "a\0b",
        "\ud800",
    ],
)
def test_python_that_is_too_deep_or_no_text_ends_as_broken(code: str) -> None:
    assert judge(code).reason == "code-parse"


def test_a_longer_text_than_allowed_is_broken() -> None:
    assert judge("x = 1\n" * 100, max_characters=599).reason == "code-parse"
    assert judge("x = 1\n" * 100, max_characters=600).reason == ""


def test_a_text_may_be_in_any_of_its_languages() -> None:
    assert judge('{"a": null}', languages=["json", "toml"]).reason == ""
    assert judge("a = null", languages=["json", "toml"]).reason == "code-parse"


MARKDOWN = "Words.\n\n```python\nx = (\n```\n\n~~~~ py title\ny = 1\n~~~\n~~~~\n\n```sql\nSELECT\n```\n"


def test_only_fences_of_the_languages_wanted_are_code() -> None:
    assert judge("def f(:", where="fences") == FIT
    assert judge(MARKDOWN, where="fences", languages=["json"]) == FIT
    found = judge(MARKDOWN, where="fences")
    assert found.reason == "code-parse"
    assert MARKDOWN[slice(*(found.span or (0, 0)))] == "x = ("


def test_some_of_the_code_may_be_broken_where_a_knob_says_so() -> None:
    text = "```python\nx = (\n```\n```python\ny = 100\n```\n"  # 6 of 14 characters
    assert judge(text, where="fences").found == pytest.approx(6 / 14)
    assert judge(text, where="fences", max_broken_share=0.5).reason == ""


def test_a_fence_may_use_what_another_defines() -> None:
    assert judge("```py\nimport os\n```\n\n```py\nprint(os.sep, later)\n```\n", where="fences").reason == ""


def test_a_fence_that_is_not_closed_reaches_to_the_end() -> None:
    assert judge("```python\nx = (", where="fences").reason == "code-parse"


def test_an_empty_text_is_fit() -> None:
    assert judge("") == FIT
    assert judge("```python\n```", where="fences") == FIT
