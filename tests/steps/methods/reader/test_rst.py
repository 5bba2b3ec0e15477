from pathlib import Path

import pytest

from steps.methods.reader import Record, Rejected
from steps.methods.reader.rst import Rst


def read(tmp_path: Path, content: str, **knobs: int) -> list[Record | Rejected]:
    file = tmp_path / "page.rst"
    file.write_text(content, encoding="utf-8")
    return list(Rst(**knobs).read(file, "guide/page.rst"))


def blocks(tmp_path: Path, content: str) -> list[str]:
    (found,) = read(tmp_path, content)
    assert isinstance(found, Record)
    assert found.key == "guide/page.rst"
    return found.text.split("\n\n")


def test_blocks_are_parted_by_blank_lines_and_hold_no_markup(tmp_path: Path) -> None:
    page = """
.. _target:

Title
=====

A *b* ``c`` `link <https://x.y>`_, |sub| and undefined_ [1]_.

.. A comment.
.. |sub| replace:: substituted
.. [1] A note.

* one
* two::

    literal

+---+---+
| a | b |
+---+---+
"""
    assert blocks(tmp_path, page) == [
        *["Title", "A b c link, substituted and undefined .", "A note.", "- one", "- two:", "literal", "a\tb"]
    ]


def test_what_sphinx_adds_keeps_its_text(tmp_path: Path) -> None:
    page = """
See :func:`~os.path.join`, :py:class:`Foo <a.Foo>` and :term:`!words`.

.. code-block:: python
   :caption: x

   x = 1

.. versionadded:: 3.2
   It is new.

.. function:: foo(a)
   :module: x

   Does *foo*.

.. toctree::
   :maxdepth: 2

   intro
"""
    assert blocks(tmp_path, page) == [
        *["See join, Foo and words.", "x = 1", "Added in version 3.2 It is new.", "foo(a)", "Does foo."]
    ]


def test_no_file_is_included(tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    page = f".. include:: {tmp_path}/secret.txt\n\n.. raw:: html\n   :file: {tmp_path}/secret.txt\n\nText.\n"
    assert blocks(tmp_path, page) == ["Text."]


def test_one_page_teaches_the_next_one_nothing(tmp_path: Path) -> None:
    assert blocks(tmp_path, ".. role:: mark(raw)\n   :format: html\n\nA :mark:`b`.") == ["A b."]
    assert blocks(tmp_path, "A :mark:`b`.") == ["A b."]


def test_a_page_that_nests_too_deep_is_rejected_and_the_next_one_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, "- " * 50_000 + "x") == [Rejected(1, "nested-too-deep", "")]
    assert blocks(tmp_path, "Text.") == ["Text."]


@pytest.mark.slow
def test_a_page_that_takes_too_long_is_rejected_and_the_next_one_is_read(tmp_path: Path) -> None:
    assert read(tmp_path, "|a " * 200_000, max_cpu_seconds=2) == [Rejected(1, "too-much-time", "")]
    assert blocks(tmp_path, "Text.") == ["Text."]
