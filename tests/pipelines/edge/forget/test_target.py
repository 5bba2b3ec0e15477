"""What is known of a document that is to be forgotten: its key, its content, its items, runs of its words."""

import gzip
import json
from typing import Any

import pytest

from pipelines.edge.forget.target import REMOVED, STUB, Target, runs_of

TEXT = "Ana Perez lives in the yellow house at the end of Mill Lane, behind the chapel."
TARGET = Target(
    keys=frozenset({"people/ana.perez", "a"}),
    contents=frozenset({"c" * 64}),
    items=frozenset({"0123456789abcdef"}),
    lines=frozenset({("0001-aa", "rows.jsonl", 7)}),
    runs=runs_of([TEXT]),
)


def jsonl(*rows: dict[str, Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


@pytest.mark.parametrize(
    "row",
    [
        {"key": "a", "text": "x"},
        {"document": "people/ana.perez", "id": "1"},
        {"content_hash": "c" * 64},
        {"id": "0123456789abcdef"},
        {"batch": "0001-aa", "file": "rows.jsonl", "line": 7, "reason": "r"},
    ],
)
def test_a_row_about_it_goes_and_the_others_stay(row: dict[str, Any]) -> None:
    other = {"key": "b", "of": "c"}
    assert TARGET.scrubbed("rows.jsonl", jsonl(row, other)) == b'{"key":"b","of":"c"}\n'
    assert TARGET.scrubbed("rows.jsonl", jsonl(other)) is None


def test_a_row_whose_line_is_no_place_is_another_row() -> None:
    assert TARGET.row({"batch": "0001-aa", "file": "rows.jsonl", "line": {"laws": {"MIT": 7}}}) is False


def test_a_row_about_another_loses_only_what_names_it() -> None:
    rows = jsonl({"key": "b", "of": "a", "task": "a"})
    assert json.loads(TARGET.scrubbed("rows.jsonl", rows) or b"") == {"key": "b", "of": REMOVED, "task": "a"}


def test_lists_of_keys_and_samples_lose_it() -> None:
    value = {"stale": ["a", "b"], "samples": {"0123456789abcdef": "x", "1": f"so: {TEXT[:60]} → he"}, "name": "a"}
    assert TARGET.without(value) == {"stale": ["b"], "samples": {"1": REMOVED}, "name": "a"}


@pytest.mark.parametrize(
    "prose",
    ["it says that ana perez lives in the YELLOW\nhouse at the end", "key people/ana.perez was dropped", f"<i>{TEXT}"],
)
def test_prose_is_known_by_a_run_of_words_or_a_key(prose: str) -> None:
    assert TARGET.text(prose)


@pytest.mark.parametrize("prose", ["the end of Mill Lane", "a key", "people/ana.perezoso", ""])
def test_a_few_words_a_short_key_or_a_longer_one_are_no_sign(prose: str) -> None:
    assert not TARGET.text(prose)


def test_a_short_text_is_known_whole_and_a_very_short_one_not_at_all() -> None:
    assert Target(keys=frozenset(), contents=frozenset(), runs=runs_of(["unmistakable words"])).text(
        "so, Unmistakable  words."
    )
    assert runs_of(["Not found"]) == frozenset()


def test_a_page_loses_the_smallest_part_that_shows_it() -> None:
    page = f"<!DOCTYPE html><ul><li>one</li><li><b>x</b> {TEXT.replace('Ana', '&#65;na')}</li></ul><p>after</p>"
    after = (TARGET.scrubbed("x.html", page.encode()) or b"").decode()
    assert f"<li>one</li><li>{REMOVED}</li>" in after
    assert "after" in after
    assert TARGET.scrubbed("x.html", f'<p title="{TEXT}">one</p>'.encode()) == STUB.encode(), "not in its text"


def test_a_log_loses_its_line_and_what_is_packed_stays_packed() -> None:
    assert TARGET.scrubbed("x.log", f"one\n{TEXT}\ntwo\n".encode()) == f"one\n{REMOVED}\ntwo\n".encode()
    packed = TARGET.scrubbed("x.jsonl.gz", gzip.compress(jsonl({"key": "a"}, {"key": "b"})))
    assert packed
    assert gzip.decompress(packed) == b'{"key":"b"}\n'
    assert TARGET.scrubbed("x.bin", b"\0" + TEXT.encode()) is None


def test_words_that_are_spread_over_lines_take_the_whole_text_with_them() -> None:
    assert TARGET.scrubbed("x.md", ("\n".join(TEXT.split()) + "\n").encode()) == f"{REMOVED}\n".encode()


def test_it_is_written_down_and_read_back_without_the_text() -> None:
    written = TARGET.model_dump_json()
    assert Target.model_validate_json(written) == TARGET
    assert "yellow" not in written
