import gzip
import hashlib
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from steps.core import manifest as manifests
from steps.core.artifacts import Batch, Corpus, Landed, TaskFacts
from steps.core.documents import Message, read_documents, row_of
from steps.core.manifest import LandedFile, Manifest, digest_of_landing
from steps.core.workspace import Workspace
from steps.ingest import IngestConfig, ingest

CONTRACT = Path(__file__).parents[2] / "data" / "contracts" / "documents.json"
TIME = "2026-03-01T10:00:00+00:00"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "data" / "contracts").mkdir(parents=True)
    (tmp_path / "data" / "contracts" / "documents.json").write_bytes(CONTRACT.read_bytes())
    return tmp_path


def put(root: Path, name: str, files: Mapping[str, bytes], removals: tuple[str, ...] = ()) -> Batch:
    folder = root / "data" / "landing" / "docs" / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in files.items():
        path = folder / manifests.FILES / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    listed = tuple(
        LandedFile(name=file, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))
        for file, content in sorted(files.items())
    )
    digest = digest_of_landing(listed, removals)
    manifest = Manifest(task="docs", name=name, landed_at=TIME, files=listed, removals=removals, digest=digest)
    (folder / manifests.MANIFEST).write_text(manifest.model_dump_json())
    path = folder.relative_to(root).as_posix()
    return Batch(digest=digest, task="docs", name=name, path=path, time=TIME, removals=removals)


def lines(*rows: Any) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def run(root: Path, *batches: Batch, config: IngestConfig | None = None, stage: str = "ingest", **facts: Any) -> Corpus:
    workspace = Workspace(root=root, path=root / "data" / stage / "docs", seed=0)
    task = TaskFacts(name="docs", **facts)
    corpus = ingest(workspace, config or IngestConfig(), Landed(digest="0", task=task, batches=batches))
    assert corpus.num_landed == corpus.num_documents + sum(corpus.quarantined.values())
    return corpus


def quarantine(root: Path) -> Iterator[dict[str, Any]]:
    return map(json.loads, (root / "data" / "ingest" / "docs" / "quarantine.jsonl").read_text().splitlines())


def test_records_get_what_they_leave_out_from_file_batch_and_task(root: Path) -> None:
    full = {"key": "k", "text": "one", "source": "s", "language": "de", "time": "2020-01-01", "licence": "MIT"}
    batch = put(root, "0001-a", {"a.jsonl": lines(full, {"text": "two"}), "b/c.txt": b"three"})
    corpus = run(root, batch, licence="PSF-2.0")
    assert (corpus.num_documents, corpus.path, corpus.quarantined) == (3, "data/ingest/docs", {})
    first, second, third = read_documents(root / corpus.path)
    assert row_of(first) == {
        **full,
        "content_hash": hashlib.sha256(b"one").hexdigest(),
        "task": "docs",
        "batch": "0001-a",
    }
    assert second.key == second.content_hash
    assert (second.source, second.language, second.time, second.licence) == ("a.jsonl", "en", TIME, "PSF-2.0")
    assert (third.key, third.source, third.text) == ("b/c.txt", "b/c.txt", "three")


def test_a_labelled_record_keeps_its_turns(root: Path) -> None:
    chat = [{"role": "user", "content": "What is a list?"}, {"role": "assistant", "content": "A sequence."}]
    batch = put(root, "0001-a", {"a.jsonl": lines({"messages": chat}, {"prompt": "2 + 2 =", "completion": " 4"})})
    talk, sum_ = read_documents(root / run(root, batch).path)
    assert talk.messages == tuple(Message(**turn) for turn in chat)
    assert talk.text == "What is a list?\n\nA sequence."
    assert sum_.messages == (Message(role="prompt", content="2 + 2 ="), Message(role="completion", content=" 4"))


def test_rows_that_break_the_contract_are_set_aside_with_file_line_and_reason(root: Path) -> None:
    rows = [
        {"text": "good", "licence": "MIT"},
        {"text": "a\u0000b", "licence": "MIT"},
        {"text": "when", "licence": "MIT", "time": "yesterday"},
        {"text": "whose", "licence": "GPL-3.0"},
        {"text": "nameless", "licence": "MIT", "key": ""},
        {"text": "tongue", "licence": "MIT", "language": "English!"},
        3,
    ]
    corpus = run(root, put(root, "0001-a", {"a.jsonl": lines(*rows)}), licences=("MIT",))
    assert corpus.num_documents == 1
    assert [(row["file"], row["line"], row["reason"]) for row in quarantine(root)] == [
        ("a.jsonl", 2, "contract:not-match-regex-text"),
        ("a.jsonl", 3, "contract:match-regex-time"),
        ("a.jsonl", 4, "contract:in-set-licence"),
        ("a.jsonl", 5, "contract:lengths-between-key"),
        ("a.jsonl", 6, "contract:match-regex-language"),
        ("a.jsonl", 7, "not-an-object"),
    ]
    found = json.loads((root / corpus.path / "contract.json").read_text())
    assert found["success"] is False
    assert found["statistics"]["evaluated_expectations"] == 14
    assert found["statistics"]["unsuccessful_expectations"] == 5


def test_every_kind_of_bad_file_loses_only_itself(root: Path) -> None:
    files = {
        "binary.jsonl": b"\0\1\2" * 100,
        "cut.jsonl.gz": gzip.compress(lines({"text": "kept"}, *({"text": str(n * 7919)} for n in range(900))))[:-20],
        "empty.jsonl": b"",
        "good.jsonl": lines({"text": "good"}),
        "latin.txt": "é".encode("latin-1"),
        "long.jsonl": b'{"text": "' + b"x" * 5000 + b'"}\n' + lines({"text": "y" * 900}),
    }
    config = IngestConfig(max_line_bytes=1024, max_document_characters=800)
    corpus = run(root, put(root, "0001-a", files), config=config)
    assert corpus.quarantined == {
        "binary": 1,
        "document-too-long": 1,
        "empty-file": 1,
        "invalid-utf-8": 1,
        "line-too-long": 1,
        "truncated-gzip": 1,
    }
    assert {"kept", "good"} <= {document.text for document in read_documents(root / corpus.path)}


def test_a_withdrawn_document_is_none_unless_it_lands_again(root: Path) -> None:
    rows = lines({"key": "a", "text": "old a"}, {"key": "b", "text": "old b"})
    first, second = put(root, "0001-a", {"x.jsonl": rows}), put(root, "0002-b", {}, ("a", "b", "c"))
    third = put(root, "0003-c", {"x.jsonl": lines({"key": "a", "text": "new a"})})
    corpus = run(root, first, second, third)
    assert [document.text for document in read_documents(root / corpus.path)] == ["new a"]
    assert (corpus.quarantined, corpus.withdrawn) == ({"withdrawn": 2}, ("b", "c"))
    assert "old" not in (root / corpus.path / "quarantine.jsonl").read_text()


def test_a_withdrawal_beats_the_files_of_its_own_batch(root: Path) -> None:
    batch = put(root, "0001-a", {"x.jsonl": lines({"key": "a", "text": "one"})}, ("a",))
    assert run(root, batch).withdrawn == ("a",)


def test_the_same_batches_give_the_same_bytes_wherever(root: Path) -> None:
    batch = put(root, "0001-a", {"x.jsonl": lines({"text": "one"}, {"text": "t", "time": "never"})})
    first, again = run(root, batch), run(root, batch, stage="elsewhere")
    assert first.digest == again.digest
    for name in ("documents.jsonl", "quarantine.jsonl", "contract.json"):
        assert (root / first.path / name).read_bytes() == (root / again.path / name).read_bytes()


def test_contract_facts_and_withdrawals_are_part_of_the_digest(root: Path) -> None:
    batch = put(root, "0001-a", {"x.jsonl": lines({"text": "one", "licence": "MIT"})})
    digests = [run(root, batch).digest, run(root, batch, licences=("MIT",)).digest]
    digests.append(run(root, batch, put(root, "0002-b", {}, ("gone",))).digest)
    suite = root / "data" / "contracts" / "documents.json"
    suite.write_text(suite.read_text().replace("10000000", "9999999"))
    digests.append(run(root, batch).digest)
    assert len(set(digests)) == 4


def test_bytes_that_did_not_land_are_refused(root: Path) -> None:
    batch = put(root, "0001-a", {"x.txt": b"one"})
    (root / batch.path / "files" / "x.txt").write_bytes(b"two")
    with pytest.raises(ValueError, match=r"x\.txt: wanted the bytes that landed"):
        run(root, batch)
    put(root, "0001-a", {"x.txt": b"two"})
    with pytest.raises(ValueError, match="0001-a: wanted contents of"):
        run(root, batch)


def test_a_batch_of_withdrawals_alone_has_no_documents(root: Path) -> None:
    corpus = run(root, put(root, "0001-a", {}, ("a",)))
    assert (corpus.num_landed, corpus.withdrawn) == (0, ("a",))
    assert list(read_documents(root / corpus.path)) == []


def test_what_a_person_let_pass_goes_on_as_such_and_is_another_corpus(root: Path) -> None:
    one = put(root, "1", {"a.jsonl": b'{"text": "words"}\n'})
    corpus, passed = run(root, one), run(root, one.model_copy(update={"released": True}))
    assert (corpus.released, passed.released) == (False, True)
    assert corpus.digest != passed.digest


def test_a_missing_contract_of_cleaned_data_is_named_before_anything_is_cleaned(root: Path) -> None:
    one = put(root, "1", {"a.jsonl": b'{"text": "words"}\n'})
    with pytest.raises(ValueError, match=r"gone\.json: no such contract; there are: documents"):
        run(root, one, clean_contract="gone")


def test_examples_of_what_broke_the_contract_are_masked(root: Path) -> None:
    corpus = run(root, put(root, "1", {"a.jsonl": b'{"text": "write to ada@example.org\\u0007"}\n'}))
    found = (root / corpus.path / "contract.json").read_text(encoding="utf-8")
    assert "write to [email]" in found
    assert "ada@" not in found
