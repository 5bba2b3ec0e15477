from pathlib import Path

import numpy as np

from steps.core.index import IndexRow, OpenIndex, write_index
from steps.core.records import FREE, HELD, SUPERSEDED
from steps.core.shards import write_lines
from steps.curation.look import ABSENT, CHANGED, SAME, known_rows, look_all, stale_keys
from tests.builders import build_corpus, build_document, build_workspace

OLD = [build_document(key, f"text of {key}") for key in "abc"]


def index(folder: Path) -> list[Path]:
    write_index(folder, [IndexRow(one.key, one.task, one.content_hash) for one in OLD], None, "")
    return [folder]


def test_every_record_is_looked_up(tmp_path: Path) -> None:
    workspace = build_workspace(tmp_path)
    documents = [OLD[0], build_document("b", "new"), build_document("d", "text of c"), build_document("e", "held")]
    write_lines(tmp_path / "documents.jsonl", (one.model_dump() for one in documents))
    write_index(tmp_path / "held", [IndexRow("h", "topics", documents[3].content_hash)], None, "")
    found = look_all(workspace, tmp_path / "documents.jsonl", index(tmp_path / "index"), [tmp_path / "held"])
    assert list(found.keys) == ["a", "b", "d", "e"]
    assert found.known.tolist() == [SAME, CHANGED, ABSENT, ABSENT]
    assert found.owners == {0: "a", 2: "c"}
    assert found.copies == {3: "h"}
    assert found.lengths.tolist() == [9, 3, 9, 4]


def test_what_leaves_the_index_frees_its_text(tmp_path: Path) -> None:
    workspace = build_workspace(tmp_path)
    documents = [OLD[0], build_document("b", "new"), build_document("d", "text of c"), build_document("e", "text of b")]
    corpus = {"topics": build_corpus(workspace, documents, withdrawn=["c", "unknown"])}
    folders = index(tmp_path / "index")
    looks = {"topics": look_all(workspace, workspace.at(corpus["topics"].path) / "documents.jsonl", folders, [])}
    states = {"topics": np.array([HELD, FREE, FREE, FREE], dtype=np.int8)}
    stale = stale_keys(corpus, looks, states, OpenIndex(folders))
    assert stale == {"a": "topics", "b": "topics", "c": "topics"}
    assert known_rows(looks, states, stale) == {"topics": {}}
    assert known_rows(looks, states, {}) == {"topics": {2: ("duplicate", "c"), 3: ("duplicate", "b")}}
    superseded = {"topics": np.array([SUPERSEDED] * 4, dtype=np.int8)}
    assert stale_keys(corpus, looks, superseded, OpenIndex(folders)) == {"c": "topics"}


def test_the_first_to_say_it_keeps_it(tmp_path: Path) -> None:
    workspace = build_workspace(tmp_path)
    corpus = [build_document("x", "same"), build_document("y", "same"), build_document("z", "same")]
    write_lines(tmp_path / "documents.jsonl", (one.model_dump() for one in corpus))
    looks = {"topics": look_all(workspace, tmp_path / "documents.jsonl", [], [])}
    states = {"topics": np.array([HELD, FREE, FREE], dtype=np.int8)}
    assert known_rows(looks, states, {}) == {"topics": {2: ("duplicate", "y")}}
