from pathlib import Path

import pytest

from steps.methods.suite.canaries import Canaries, Canary
from tests.steps.methods.suite.examinees import Parrot, write_rows


@pytest.mark.parametrize(
    ("match", "wanted", "answer", "holds"),
    [
        ("contains", ["Paris"], "It is paris, of course.", True),
        ("contains", ["Paris", "Lutetia"], "Lutetia!", True),
        ("contains", ["Paris"], "Rome", False),
        ("exact", ["Paris"], " paris ", True),
        ("exact", ["Paris"], "Paris.", False),
        ("regex", [r"^\d{4}$"], "1789", True),
        ("regex", [r"^\d{4}$"], "in 1789", False),
        ("lacks", ["sorry"], "Here you are.", True),
        ("lacks", ["sorry"], "Sorry, no.", False),
        ("lacks", ["sorry"], "", False),
    ],
)
def test_an_answer_is_held_against_what_is_wanted(match: str, wanted: list[str], answer: str, holds: bool) -> None:
    assert Canary.model_validate({"prompt": "?", "wanted": wanted, "match": match}).holds(answer) == holds


def test_capitals_count_where_they_are_said_to() -> None:
    row = {"prompt": "?", "wanted": "STOP", "case": True}
    assert not Canary.model_validate(row).holds("stop")
    assert Canary.model_validate(row).holds("STOP!")


def test_every_line_is_a_question(tmp_path: Path) -> None:
    write_rows(tmp_path / "c.jsonl", [{"prompt": "a?", "wanted": "a", "id": "one"}, {"prompt": "b?", "wanted": "b"}])
    suite, parrot = Canaries(file="c.jsonl", name="mine"), Parrot({"a?": "A", "b?": "?"})
    rows = [row for batch in suite.ask(parrot, suite.questions(tmp_path, parrot)) for row in batch]
    assert {(row.suite, row.answer, row.score) for row in rows} == {("mine", "A", 1.0), ("mine", "?", 0.0)}
    assert "one" in {row.id for row in rows}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("[1]", "line 2"),
        ("no json", "line 2: wanted a JSON object"),
        ('{"prompt": "a"}', "line 2: wanted"),
        ('{"prompt": "a", "wanted": [], "id": "x"}', "line 2: wanted"),
        ('{"prompt": "a", "wanted": " "}', "an empty answer would match anything"),
        ('{"prompt": "a", "wanted": "(", "match": "regex"}', "no regular expression"),
        ('{"prompt": "a?", "wanted": "a", "id": "one"}', "two questions have the id 'one'"),
    ],
)
def test_a_line_that_is_no_question_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "c.jsonl").write_text('{"prompt": "a?", "wanted": "a", "id": "one"}\n' + line + "\n")
    with pytest.raises(ValueError, match=message):
        Canaries(file="c.jsonl").questions(tmp_path, Parrot({}))


@pytest.mark.parametrize(
    ("file", "message"), [("../c.jsonl", "leads out of the workspace"), ("none.jsonl", "no such file")]
)
def test_the_file_must_lie_in_the_workspace(tmp_path: Path, file: str, message: str) -> None:
    (tmp_path / "c.jsonl").write_text("{}")
    inside = tmp_path / "inside"
    inside.mkdir()
    with pytest.raises(ValueError, match=message):
        Canaries(file=file).questions(inside, Parrot({}))


def test_a_file_that_changed_since_the_run_began_is_refused(tmp_path: Path) -> None:
    write_rows(tmp_path / "c.jsonl", [{"prompt": "a?", "wanted": "a"}])
    pinned = Canaries(file="c.jsonl").pinned(tmp_path)
    assert pinned.questions(tmp_path, Parrot({}))
    write_rows(tmp_path / "c.jsonl", [{"prompt": "a?", "wanted": "b"}])
    with pytest.raises(ValueError, match="wanted digest"):
        pinned.questions(tmp_path, Parrot({}))
    assert Canaries(file="c.jsonl").pinned(tmp_path).digest != pinned.digest
