from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from steps.core.artifacts import Buffer, Chosen, Validation
from steps.core.documents import row_of
from steps.core.shards import write_json, write_lines
from steps.core.state import CountedDocument, describe_segment, digest_of_segments, read_counted
from steps.core.workspace import Workspace
from steps.methods.select.all import All
from steps.select import SelectConfig, select
from tests.builders import (
    NO_ITEMS,
    Data,
    at_stage,
    build_document,
    build_model,
    build_texts,
    build_workspace,
    contents,
    prose,
    rows,
    run_data_stages,
)

PAGES = {f"page-{k}": prose(k, 20 + 5 * k) for k in range(8)}
GENERAL = {f"general-{k}": prose(100 + k) for k in range(4)}
HALF = {"new": {"method": "random", "keep_share": 0.5}}


def cleaned(workspace: Workspace) -> Data:
    """Eight pages of a task and four general ones, kept."""
    corpus = {
        "topics": build_texts(workspace, PAGES),
        "general": build_texts(workspace, GENERAL, "general", "replay-only"),
    }
    return run_data_stages(workspace, corpus)


def choose(
    workspace: Workspace, data: Data, config: dict[str, Any], validation: Validation = NO_ITEMS, stage: str = "again"
) -> Chosen:
    """Select from what was kept."""
    here = at_stage(workspace, stage)
    return select(here, SelectConfig.model_validate(config), data.kept, build_model(workspace), data.buffer, validation)


def items(workspace: Workspace, texts: list[str], document: str = "held") -> Validation:
    """Validation items of the task."""
    path = workspace.root / "data" / "held"
    made = [{"id": str(k), "task": "topics", "document": document, "text": text} for k, text in enumerate(texts)]
    write_lines(path / "topics" / "validation.jsonl", made)
    return Validation(digest="items", path=workspace.relative(path), num_items={"topics": len(texts)})


def remembered(workspace: Workspace, texts: dict[str, str], task: str) -> Buffer:
    """A buffer of some documents."""
    folder = workspace.root / "data" / "state" / task
    held = [
        row_of(CountedDocument(**dict(build_document(key, text, task)), num_tokens=len(text)))
        for key, text in texts.items()
    ]
    write_lines(folder / "removed.jsonl", [])
    write_lines(folder / "added.jsonl", held)
    write_json(folder / "segment.json", {"counts": {}})
    segments = (describe_segment(workspace, folder),)
    return Buffer(segments=segments, digest=digest_of_segments(segments))


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
    assert chosen.left == {}


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


def test_a_part_is_chosen_and_the_rest_is_written_down(tmp_path: Path) -> None:
    workspace = build_workspace(tmp_path)
    data = cleaned(workspace)
    chosen = choose(workspace, data, HALF)
    folder = workspace.at(chosen.path) / "topics"
    kept, left = [document.key for document in read_counted(folder)], rows(folder / "left.jsonl")
    assert sorted([*kept, *(row["key"] for row in left)]) == sorted(PAGES)
    assert chosen.left == {"topics": len(left)}
    assert chosen.num_documents["topics"] == len(kept)
    assert set(left[0]) == {"key", "content_hash", "num_tokens", "score", "reason"}
    assert left[0]["reason"] == "not drawn"
    whole = sum(map(len, PAGES.values()))
    assert chosen.num_tokens["topics"] + sum(row["num_tokens"] for row in left) == whole
    assert chosen.num_tokens["topics"] == pytest.approx(whole / 2, abs=200)  # half of the longest document
    assert chosen.digest != data.chosen.digest


def test_general_text_passes_whole(tmp_path: Path) -> None:
    workspace = build_workspace(tmp_path)
    chosen = choose(workspace, cleaned(workspace), HALF)
    assert chosen.num_documents["general"] == len(GENERAL)
    assert not (workspace.at(chosen.path) / "general" / "left.jsonl").exists()


def test_the_seed_decides_and_nothing_else(tmp_path: Path) -> None:
    workspace = build_workspace(tmp_path)
    data = cleaned(workspace)
    one, again = (choose(workspace, data, HALF, stage=stage) for stage in ("one", "two"))
    assert one.digest == again.digest
    assert choose(replace(workspace, seed=21), data, HALF, stage="three").digest != one.digest


def test_the_whole_share_is_what_all_chooses(tmp_path: Path) -> None:
    workspace = build_workspace(tmp_path)
    data = cleaned(workspace)
    whole = choose(workspace, data, {"new": {"method": "random", "keep_share": 1.0}})
    assert whole.model_dump(exclude={"path"}) == data.chosen.model_dump(exclude={"path"})


def backwards(number: int, num_words: int = 40) -> str:
    """Prose of other words."""
    return prose(number, num_words)[::-1].lower()


def test_validation_items_are_the_target(tmp_path: Path) -> None:
    workspace = build_workspace(tmp_path)
    data = run_data_stages(workspace, {"topics": build_texts(workspace, {**PAGES, "other": backwards(50)})})
    config = {"new": {"method": "importance", "keep_tokens": 100}}
    chosen = choose(workspace, data, config, items(workspace, [backwards(60 + k) for k in range(9)]))
    assert [document.key for document in read_counted(workspace.at(chosen.path) / "topics")] == ["other"]


def test_trusted_text_is_the_buffers_of_the_same_task_or_else_the_validation_items(tmp_path: Path) -> None:
    workspace = build_workspace(tmp_path)
    pages = {"forwards": prose(1), "backwards": backwards(2)}
    data = run_data_stages(workspace, {"topics": build_texts(workspace, pages)})
    best = {"new": {"method": "quality-top", "keep_tokens": 10}}
    others = [backwards(60 + k) for k in range(9)]

    def kept(buffer: Buffer) -> list[str]:
        chosen = choose(workspace, replace(data, buffer=buffer), best, items(workspace, others), stage="trusted")
        return [document.key for document in read_counted(workspace.at(chosen.path) / "topics")]

    assert kept(data.buffer) == ["backwards"]
    assert kept(remembered(workspace, {"old": prose(7, 300)}, "elsewhere")) == ["backwards"]
    assert kept(remembered(workspace, {"old": prose(7, 300)}, "topics")) == ["forwards"]


@pytest.mark.parametrize("found", [{"document": "page-3"}, {"texts": [PAGES["page-3"]]}])
def test_a_held_out_document_is_never_chosen(tmp_path: Path, found: dict[str, Any]) -> None:
    workspace = build_workspace(tmp_path)
    data = cleaned(workspace)
    leaking = items(workspace, **{"texts": ["some passage"], **found})
    with pytest.raises(AssertionError, match="topics: held-out documents among the chosen: page-3"):
        choose(workspace, data, {}, leaking)


def test_the_default_is_all_and_the_recipe_can_write_it_back() -> None:
    assert SelectConfig().new == All()
    config = SelectConfig.model_validate(HALF)
    assert SelectConfig.model_validate(config.model_dump()) == config
    assert config.model_dump()["new"]["method"] == "random"


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ValidationError, match="select: no method 'best'; there are: all, importance, learnability"):
        SelectConfig.model_validate({"new": "best"})
