from collections.abc import Sequence

import pytest

from steps.core.documents import Item
from steps.core.texts import Texts
from steps.methods.decontaminate.coverage import Coverage

WORDS = [f"{a}{b}" for a in "bcdfghklm" for b in ("a", "e", "i", "o", "u", "ar", "ek", "il", "on", "ut")]
LONG = " ".join(WORDS[:60])  # 48 runs of 13 words
SHORT = " ".join(WORDS[:20])  # 8 runs


def contained(texts: Sequence[str], knobs: Coverage | None = None, **items: str) -> dict[int, str]:
    method = knobs or Coverage()
    made = [Item(id=name, task="exam", document=name, text=text) for name, text in items.items()]
    grams = method.grams_of(made)
    return method.verdicts([method.hits(Texts(texts), grams)], [len(texts)], grams)


@pytest.mark.parametrize(("shared", "found"), [(60, {0: "a"}), (36, {0: "a"}), (35, {}), (12, {})])
def test_a_document_with_half_of_an_items_runs_contains_it(shared: int, found: dict[int, str]) -> None:
    text = "before, " + " ".join(LONG.split()[:shared]).upper() + ". After"  # 36 words are 24 of the 48 runs
    assert contained([text], a=LONG) == found


def test_an_item_of_fewer_words_than_a_run_must_be_there_whole() -> None:
    texts = ["x A b, c d e f g H y", "a b c d e f g", "p q r and more"]
    assert contained(texts, short="a b c d e f g h", tiny="p q r") == {0: "short"}


def test_a_document_that_is_the_item_contains_it_however_short() -> None:
    assert contained(["P, q r!", "p q", "p q r s"], tiny="p q r") == {0: "tiny"}


def test_boilerplate_gives_no_document_away() -> None:
    around = [f"number {word}: {LONG}" for word in WORDS[:6]]
    assert contained(around[:5], a=LONG) == dict.fromkeys(range(5), "a")
    assert contained(around, a=LONG) == {}


def test_a_short_item_in_full_gives_every_document_away_and_half_of_it_only_where_it_is_rare() -> None:
    around = [f"number {word}: {SHORT}" for word in WORDS[:6]]
    assert contained(around, a=SHORT) == dict.fromkeys(range(6), "a")
    half = [" ".join(text.split()[:-4]) for text in around]
    assert contained(half[:5], a=SHORT) == dict.fromkeys(range(5), "a")
    assert contained(half, a=SHORT) == {}


def test_a_copy_of_a_long_item_goes_however_many_there_are() -> None:
    assert contained([LONG] * 9, a=LONG) == dict.fromkeys(range(9), "a")


def test_of_an_item_without_its_boilerplate_half_is_enough() -> None:
    boilerplate = [f"{' '.join(WORDS[:30])} {word} {word}" for word in WORDS[60:66]]  # 18 of the 48 runs
    partly = "so " + " ".join(WORDS[20:50])  # 18 others
    assert contained([partly], a=LONG) == {}
    assert contained([*boilerplate, partly], a=LONG) == {6: "a"}


def test_the_item_that_is_held_most_is_named_and_of_equals_the_first_by_name() -> None:
    assert contained([f"so {LONG}"], b=LONG, a=LONG + " and five words more here") == {0: "b"}
    assert contained([f"so {LONG}"], b=LONG, a=LONG) == {0: "a"}


def test_what_is_common_is_common_in_the_task_not_in_a_batch() -> None:
    method = Coverage()
    grams = method.grams_of([Item(id="a", task="exam", document="a", text=LONG)])
    batches = [method.hits(Texts([f"{word} {LONG}", "other"]), grams) for word in WORDS[:6]]
    assert method.verdicts(batches[:5], [2] * 5, grams) == dict.fromkeys(range(0, 10, 2), "a")
    assert method.verdicts(batches, [2] * 6, grams) == {}


def test_no_item_is_in_no_document() -> None:
    assert contained([LONG]) == {}
    assert contained([], a=LONG) == {}
