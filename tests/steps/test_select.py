from pathlib import Path

import pytest
from pydantic import ValidationError

from steps.core.state import read_counted
from steps.select import SelectConfig
from tests.builders import build_texts, build_workspace, contents, prose, run_data_stages


def test_every_kept_document_is_chosen_and_its_tokens_are_counted(tmp_path: Path) -> None:
    workspace = build_workspace(tmp_path)
    pages = {"a": prose(1), "b": prose(2, 60)}
    chosen = run_data_stages(workspace, {"topics": build_texts(workspace, pages)}).chosen
    documents = read_counted(workspace.at(chosen.path) / "topics")
    assert {document.key: document.num_tokens for document in documents} == {
        key: len(text)
        for key, text in pages.items()  # the tokenizer is byte-level
    }
    assert chosen.num_documents == {"topics": 2}
    assert chosen.num_tokens == {"topics": sum(map(len, pages.values()))}


def test_a_task_of_which_nothing_was_kept_has_no_tokens(tmp_path: Path) -> None:
    workspace = build_workspace(tmp_path)
    chosen = run_data_stages(workspace, {"topics": build_texts(workspace, {"a": "short"})}).chosen
    assert chosen.num_documents == {"topics": 0}
    assert chosen.num_tokens == {"topics": 0}


def test_what_is_chosen_knows_content_and_roles_but_not_its_place(tmp_path: Path) -> None:
    workspace = build_workspace(tmp_path)
    runs = [
        run_data_stages(workspace, {"topics": build_texts(workspace, {"a": prose(1)})}, refresh=refresh).chosen
        for refresh in ("one", "two")
    ]
    assert runs[0].digest == runs[1].digest
    assert contents(workspace.at(runs[0].path)) == contents(workspace.at(runs[1].path))
    corpus = {"topics": build_texts(workspace, {"a": prose(1)}, role="replay-only")}
    assert run_data_stages(workspace, corpus, refresh="three").chosen.digest != runs[0].digest


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ValidationError, match="Input should be 'all'"):
        SelectConfig.model_validate({"method": "best"})
