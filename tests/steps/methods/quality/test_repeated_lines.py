from pathlib import Path

import numpy as np
import pytest

from steps.core.ngrams import as_bytes
from steps.core.texts import Texts
from steps.methods.quality import Judgement
from steps.methods.quality._lines import LineCounts, line_hashes
from steps.methods.quality.repeated_lines import RepeatedLines
from tests.builders import prose
from tests.steps.methods.quality.learning import around

MENU = "Home | About us | Contact"
RULE = RepeatedLines(max_documents=3, min_characters=10)


def pages(count: int, menu: str = MENU) -> list[str]:
    return [f"{menu}\n{prose(number)}\nend" for number in range(count)]


def test_a_line_of_many_documents_goes_and_the_rest_stays_as_it_is(tmp_path: Path) -> None:
    texts = [f"first\r\n  {MENU} \n\n{prose(number)}\n" for number in range(4)]
    figures = RULE.learn(around(tmp_path, texts))
    assert figures == {"documents": 4, "distinct_documents": 4, "limit": 3, "repeated_lines": 1}
    judged = RULE.judge(Texts(texts), tmp_path)[2]
    assert (judged.reason, judged.text) == ("", f"first\r\n\n{prose(2)}\n")
    assert texts[2][slice(*(judged.span or (0, 0)))] == f"  {MENU} "


def test_a_line_of_no_more_documents_than_the_limit_stays(tmp_path: Path) -> None:
    texts = pages(3)
    RULE.learn(around(tmp_path, texts))
    assert RULE.judge(Texts(texts), tmp_path) == [Judgement(found=1.0, limit=0.5)] * 3


def test_a_line_counts_once_in_a_document(tmp_path: Path) -> None:
    assert RULE.learn(around(tmp_path, ["\n".join([MENU] * 9), prose(1)]))["repeated_lines"] == 0


def test_a_document_that_came_many_times_counts_once(tmp_path: Path) -> None:
    figures = RULE.learn(around(tmp_path, [prose(1) + "\n" + prose(2)] * 9))
    assert (figures["documents"], figures["distinct_documents"], figures["repeated_lines"]) == (9, 1, 0)


def test_a_document_of_which_little_stays_is_dropped(tmp_path: Path) -> None:
    texts = [*pages(4), f"{MENU}\n{MENU}\nshort end"]
    RULE.learn(around(tmp_path, texts))
    last = RULE.judge(Texts(texts), tmp_path)[-1]
    assert (last.reason, last.text, last.limit) == ("repeated-lines", None, 0.5)
    assert last.found == pytest.approx(9 / 61)


def test_a_document_of_nothing_else_is_empty_where_none_is_dropped(tmp_path: Path) -> None:
    rule = RepeatedLines(max_documents=3, min_characters=10, min_share=0)
    rule.learn(around(tmp_path, pages(4)))
    assert rule.judge(Texts([MENU, ""]), tmp_path)[0].text == ""
    assert rule.judge(Texts([MENU, ""]), tmp_path)[1].text is None


def test_short_lines_stay_and_characters_are_no_bytes(tmp_path: Path) -> None:
    assert RULE.learn(around(tmp_path, pages(4, "ééééééééé")))["repeated_lines"] == 0
    assert RULE.learn(around(tmp_path, pages(4, "éééééééééé")))["repeated_lines"] == 1


def test_the_share_raises_the_limit_of_a_large_task(tmp_path: Path) -> None:
    rule = RepeatedLines(max_documents=3, max_share=0.5, min_characters=10)
    texts = pages(10) + [prose(number) for number in range(100, 110)]
    assert rule.learn(around(tmp_path, texts)) | {"repeated_lines": 0} == {
        "documents": 20, "distinct_documents": 20, "limit": 10, "repeated_lines": 0
    }  # fmt: skip
    assert RULE.judge(Texts(texts), tmp_path)[0].text is None


def test_no_text_at_all_teaches_nothing(tmp_path: Path) -> None:
    assert RULE.learn(around(tmp_path))["repeated_lines"] == 0
    assert RULE.judge(Texts([]), tmp_path) == []


def test_a_sketch_that_is_full_of_others_still_ends_in_exact_counts() -> None:
    counts = LineCounts(min_characters=1)
    counts._cells[:] = 60_000  # as if tens of millions of other lines had come
    texts = as_bytes(["a\nb", "a\nc", "a\nd"])
    counts.sketch(texts)
    counts.again()
    counts.count(texts, 2)
    wanted, _ = line_hashes(as_bytes(["a"]), 1)
    assert counts.above(2).tolist() == wanted.tolist()


@pytest.mark.parametrize("seed", range(3))
def test_lines_are_counted_as_a_dictionary_would(seed: int) -> None:
    rng = np.random.default_rng(seed)
    texts = ["\n".join(f"l{number}" for number in rng.integers(60, size=20)) for _ in range(100)]
    exact = {f"l{number}": sum(f"l{number}" in text.split("\n") for text in texts) for number in range(60)}
    counts = LineCounts(min_characters=1)
    for start in range(0, 100, 30):
        counts.sketch(as_bytes(texts[start : start + 30]))
    counts.again()
    for start in range(0, 100, 30):
        counts.count(as_bytes(texts[start : start + 30]), 28)
    wanted = as_bytes(sorted(line for line, count in exact.items() if count > 28))
    assert counts.above(28).tolist() == sorted(line_hashes(wanted, 1)[0].tolist())
