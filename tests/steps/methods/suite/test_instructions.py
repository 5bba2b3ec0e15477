from pathlib import Path
from typing import Any

import pytest

from steps.core.examinee import Examinee
from steps.methods.suite._checks import CHECKS, share_held
from steps.methods.suite.instructions import Instruction, Instructions, ours
from tests.steps.methods.suite.examinees import Parrot, chat_model, write_rows


@pytest.mark.parametrize(
    ("check", "wanted", "good", "bad"),
    [
        ("words", [2, 3], "It's a well-known", "one"),
        ("words", 1, "cold", "very cold"),
        ("words", [4, None], "one two three four five", "one two three"),
        ("sentences", 2, "It rains. Take a coat!", "It rains."),
        ("sentences", 1, "Version 2.5 is out", "One. Two."),
        ("lines", 2, "a\n\nb", "a b"),
        ("bullets", 2, "- a\n* b", "- a\nb"),
        ("bullets", 3, "1. a\n2. b\n3) c", "1.a 2.b 3.c"),
        ("paragraphs", 2, "a\nb\n\nc", "a\nb"),
        ("letters", "lower", "all low, 1", "Not low"),
        ("letters", "upper", "ALL HIGH", "ALL HIGh"),
        ("contains", ["Bridge", "river"], "A bridge over a River", "A bridge"),
        ("contains_any", ["bak", "bread"], "Bakes", "cakes"),
        ("lacks", ["fruit"], "apple", "A Fruit"),
        ("times", {"blue": 2}, "Blue, blue sky", "blue bluebell"),
        ("starts", "Dear", " dear Ann", "My dear"),
        ("ends", "?", "Well? ", "Well"),
        ("only", ["yes", "no"], "Yes.", "Yes, it is"),
        ("quoted", True, '"Onward"', 'Our motto: "Onward"'),
        ("json", ["a"], '```json\n{"a": 1}\n```', "[1]"),
        ("json", [], "[1, 2]", "Here: [1]"),
        ("matches", "<<.+>>", "<<A>>", "<A>"),
    ],
)
def test_a_check_lets_the_good_answer_pass_and_not_the_bad_one(check: str, wanted: Any, good: str, bad: str) -> None:
    assert CHECKS[check](good, wanted)
    assert not CHECKS[check](bad, wanted)


def test_every_check_is_tried_above_and_used_or_offered() -> None:
    assert {name for row in ours() for name in row.checks} <= set(CHECKS)


def test_the_score_is_the_share_of_checks_that_hold() -> None:
    checks = {"words": [1, 3], "letters": "lower", "contains": ["a"], "ends": "!"}
    assert share_held("a b", checks) == 3 / 4


@pytest.mark.parametrize("answer", ["", "  ", "!!!", "…"])
def test_who_says_nothing_follows_no_instruction(answer: str) -> None:
    assert share_held(answer, {"letters": "lower", "words": [None, 12], "lacks": ["fruit"]}) == 0


def test_a_model_that_rambles_on_passes_few_of_ours() -> None:
    rambling = "The history of the region, which began in the Middle Ages, is long and " * 4
    scores = [share_held(rambling, row.checks) for row in ours()]
    assert sum(scores) / len(scores) < 0.25


def test_ours_are_forty_with_names_of_their_own() -> None:
    assert len({row.id for row in ours()}) == len(ours()) == 40


def test_a_limit_draws_the_same_prompts_for_every_model_and_others_by_another_seed() -> None:
    def names(seed: int) -> list[str]:
        suite = Instructions(limit=10, seed=seed)
        return [question.id for question in suite.questions(Path(), Parrot({}))]

    assert len(names(0)) == 10
    assert names(0) == names(0) != names(1)


def test_prompts_of_ones_own(tmp_path: Path) -> None:
    write_rows(tmp_path / "own.jsonl", [{"prompt": "Say yes.", "checks": {"only": ["yes"]}, "id": "yes"}])
    suite, parrot = Instructions(file="own.jsonl"), Parrot({"Say yes.": "Yes!"})
    [[row]] = suite.ask(parrot, suite.questions(tmp_path, parrot))
    assert (row.id, row.score, row.wanted) == ("yes", 1.0, "only: yes")


@pytest.mark.parametrize(
    ("checks", "message"),
    [({"rhymes": True}, "no check 'rhymes'; there are: bullets"), ({"words": "few"}, "cannot ask for 'few'")],
)
def test_a_check_that_does_not_exist_is_refused(checks: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Instruction(prompt="?", checks=checks)


def test_a_real_chat_model_is_asked_through_its_template(tmp_path: Path) -> None:
    examinee = Examinee(chat_model(tmp_path / "model"))
    suite = Instructions(limit=2, answer_tokens=3)
    questions = suite.questions(tmp_path, examinee)
    read = examinee.tokenizer.decode(suite.tokens(examinee, questions[0]))
    assert read.startswith("<|from|>user\n")
    assert read.endswith("<|from|>assistant\n")
    rows = [row for batch in suite.ask(examinee, questions) for row in batch]
    assert {row.id for row in rows} == {question.id for question in questions}
