import json
from pathlib import Path

import pytest

from steps.core.artifacts import TaskFacts
from steps.curation import look, sweep
from steps.curation.cleaned import contract_of
from tests.builders import build_corpus, build_document, build_workspace, contents, prose, rows, run_data_stages

SUITE = {
    "name": "pages-clean",
    "expectations": [
        {"type": "expect_column_values_to_not_match_regex", "kwargs": {"column": "text", "regex": "password"}}
    ],
}


def cleaned(root: Path) -> tuple[dict[str, int], dict[str, bytes]]:
    workspace = build_workspace(root)
    (root / "data/contracts").mkdir(parents=True)
    (root / "data/contracts/pages-clean.json").write_text(json.dumps(SUITE), encoding="utf-8")
    documents = [build_document(f"k{n}", prose(n, 60)) for n in range(20)]
    secret = "write to ada@example.org for the password"
    documents += [build_document(f"bad-{n}", f"{prose(50 + n)} {secret}") for n in range(3)]
    corpus = build_corpus(workspace, documents)
    corpus = corpus.model_copy(update={"task": TaskFacts(name="topics", clean_contract="pages-clean")})
    kept = run_data_stages(workspace, {"topics": corpus}).kept
    return kept.dropped["topics"], contents(workspace.at(kept.path) / "topics")


def test_what_breaks_the_contract_of_cleaned_documents_is_dropped_whatever_the_parts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    dropped, files = cleaned(tmp_path / "one")
    assert dropped == {"contract:not-match-regex-text": 3}
    (result,) = json.loads(files["contract.json"])["results"]
    assert (result["result"]["element_count"], result["result"]["unexpected_count"]) == (23, 3)
    for module in (look, sweep):
        monkeypatch.setattr(module, "RANGE_BYTES", 3000)
    again, same = cleaned(tmp_path / "many")
    assert again == dropped
    assert same == files


def test_examples_are_masked(tmp_path: Path) -> None:
    _, files = cleaned(tmp_path)
    assert b"ada@" not in b"".join(files.values())


def test_a_task_without_one_has_none(tmp_path: Path) -> None:
    assert contract_of(tmp_path, TaskFacts(name="topics")) is None


def test_what_each_rule_left_names_the_contract_too(tmp_path: Path) -> None:
    cleaned(tmp_path)
    passages = json.loads((tmp_path / "data/first/clean/topics/passages.json").read_text(encoding="utf-8"))["passages"]
    assert [one["documents"] for one in passages if one["rule"] == "contract"] == [20]
    assert {row["rule"] for row in rows(tmp_path / "data/first/clean/topics/dropped.jsonl")} == {"contract"}
