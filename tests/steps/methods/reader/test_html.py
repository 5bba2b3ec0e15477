import os
import signal
from pathlib import Path

import pytest

from steps.methods.reader import Record, Rejected
from steps.methods.reader.html import Html

SENTENCE = "The heron stands still in the shallow water and waits for a fish to come near. "
PAGE = f"""<!DOCTYPE html><html lang="en-GB"><head><title>Herons | Birds</title>
<meta property="og:title" content="The heron"><link rel="license" href="https://creativecommons.org/licenses/by-sa/4.0/">
<script>var menu = "no text";</script></head><body><nav><a href="/">Home</a> <a href="/b">Birds</a></nav>
<article><h2>Where it lives</h2><p>{SENTENCE * 3}</p><p>{SENTENCE * 2}Café.</p></article>
<footer>All rights reserved. Cookie settings.</footer></body></html>"""


def read(tmp_path: Path, content: bytes, **knobs: int) -> Record | Rejected:
    file = tmp_path / "page.html"
    file.write_bytes(content)
    (found,) = Html(**knobs).read(file, "birds/page.html")
    return found


def test_title_and_main_text_are_kept_and_menus_left_out(tmp_path: Path) -> None:
    found = read(tmp_path, PAGE.encode())
    assert isinstance(found, Record)
    assert found.text.split("\n") == [
        *["The heron", "", "Where it lives", (SENTENCE * 3).strip(), f"{SENTENCE * 2}Café."]
    ]
    assert (found.key, found.language, found.licence) == ("birds/page.html", "en", "CC-BY-SA-4.0")


def test_a_title_with_which_the_text_begins_is_not_said_twice(tmp_path: Path) -> None:
    found = read(tmp_path, PAGE.replace('content="The heron"', 'content="Where it lives"').encode())
    assert isinstance(found, Record)
    assert found.text.startswith("Where it lives\nThe heron")


def test_another_encoding_is_read_where_the_page_declares_it(tmp_path: Path) -> None:
    latin = PAGE.replace("<head>", '<head><meta charset="iso-8859-1">').encode("latin-1")
    found = read(tmp_path, latin)
    assert isinstance(found, Record)
    assert found.text.endswith("Café.")
    assert getattr(read(tmp_path, PAGE.encode("latin-1")), "reason", "") == "unknown-encoding"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty-file"),
        (b"<html><body></body></html>", "no-main-text"),
        (b"<html>\0", "binary"),
        (b"<div>" * 200_000, "no-main-text"),
        (b"<table><tr><td>" * 50_000, "no-main-text"),
        (b"<!--" * 500_000, "no-main-text"),
        (b"<html>" + b"x" * 20_000_000, "file-too-long"),
    ],
)
def test_a_page_without_text_is_rejected(tmp_path: Path, content: bytes, reason: str) -> None:
    found = read(tmp_path, content)
    assert isinstance(found, Rejected)
    assert found.reason in (reason, "no-html")


@pytest.mark.slow
def test_a_page_that_takes_too_much_memory_costs_only_itself(tmp_path: Path) -> None:
    content = b"<html><body>" + b"<p>a word</p>" * 1_000_000
    assert read(tmp_path, content) == Rejected(1, "too-much-memory", "")
    assert isinstance(read(tmp_path, PAGE.encode()), Record)


def test_a_process_that_died_costs_one_page_at_most(tmp_path: Path) -> None:
    from steps.methods.reader import _guard

    assert isinstance(read(tmp_path, PAGE.encode()), Record)
    os.kill(_guard._idle[-1]._process.pid, signal.SIGKILL)
    found = [read(tmp_path, PAGE.encode()) for _ in range(2)]
    assert isinstance(found[1], Record)


def test_a_file_that_cannot_be_read_is_an_error_of_the_machine(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        list(Html().read(tmp_path / "missing.html", "missing.html"))
