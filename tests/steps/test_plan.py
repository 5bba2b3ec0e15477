import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from steps.core.artifacts import Buffer, Chosen, MixturePlan
from steps.core.shards import write_json, write_lines
from steps.core.state import CountedDocument, describe_segment
from steps.core.workspace import Workspace
from steps.plan import PlanConfig, plan
from tests.builders import NO_ITEMS, build_document, build_model, build_texts, build_workspace, empty, run_data_stages


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return build_workspace(tmp_path)


def build_chosen(workspace: Workspace, train: Mapping[str, int], general: int = 0) -> Chosen:
    """One document of the given length, in tokens, for every task; the tokenizer is byte-level."""
    corpus = {
        name: build_texts(workspace, {name: (f"{name} " * length)[:length]}, task=name)
        for name, length in train.items()
    }
    if general:
        page = {"general": ("general words " * general)[:general]}
        corpus["general"] = build_texts(workspace, page, task="general", role="replay-only")
    return run_data_stages(workspace, corpus).chosen


def planned(workspace: Workspace, chosen: Chosen, buffer: Buffer | None = None, **knobs: Any) -> MixturePlan:
    mixture = {"method": "fixed", **{name: knobs.pop(name) for name in ("replay_share", "new") if name in knobs}}
    config = PlanConfig(mixture=mixture, **knobs)
    return plan(workspace, config, chosen, buffer or empty(Buffer), build_model(workspace), NO_ITEMS)


def test_the_budget_is_split_by_the_share_and_by_the_tokens_that_are_there(workspace: Workspace) -> None:
    chosen = build_chosen(workspace, {"a": 600, "b": 200}, general=500)
    shares = planned(workspace, chosen, budget_tokens=1000, replay_share=0.3)
    assert shares.tokens == {"new/a": 525, "new/b": 175, "replay/general": 300}
    assert shares.replay_share == 0.3


def test_train_tasks_can_share_equally(workspace: Workspace) -> None:
    chosen = build_chosen(workspace, {"a": 600, "b": 200}, general=500)
    shares = planned(workspace, chosen, budget_tokens=1000, replay_share=0.3, new="equal")
    assert shares.tokens == {"new/a": 350, "new/b": 350, "replay/general": 300}


def test_what_a_small_task_cannot_give_flows_to_the_others(workspace: Workspace) -> None:
    chosen = build_chosen(workspace, {"a": 600, "b": 100, "c": 600}, general=500)
    shares = planned(workspace, chosen, budget_tokens=1000, replay_share=0.1, new="equal", max_epochs=1)
    assert shares.tokens == {"new/a": 400, "new/b": 100, "new/c": 400, "replay/general": 100}


@pytest.mark.parametrize("budget", [1, 2, 7, 101, 997, 1999])
def test_the_tokens_add_up_to_the_budget(workspace: Workspace, budget: int) -> None:
    chosen = build_chosen(workspace, {"a": 333, "b": 77, "c": 111}, general=300)
    shares = planned(workspace, chosen, budget_tokens=budget)
    assert sum(shares.tokens.values()) == budget
    assert min(shares.tokens.values()) > 0


def test_too_little_new_text_shrinks_the_budget_and_keeps_the_shares(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = build_chosen(workspace, {"a": 70}, general=500)
    with caplog.at_level(logging.WARNING):
        shares = planned(workspace, chosen, budget_tokens=1000, replay_share=0.3, max_epochs=2)
    assert shares.tokens == {"new/a": 140, "replay/general": 60}
    assert "plan wants 700 tokens; repeated at most 2 times they give 140" in caplog.text


def test_too_little_to_replay_leaves_the_new_text_as_planned(workspace: Workspace) -> None:
    chosen = build_chosen(workspace, {"a": 700}, general=50)
    shares = planned(workspace, chosen, budget_tokens=1000, replay_share=0.3, max_epochs=2)
    assert shares.tokens == {"new/a": 700, "replay/general": 100}
    assert shares.replay_share == 100 / 800


def test_too_little_text_can_be_refused(workspace: Workspace) -> None:
    chosen = build_chosen(workspace, {"a": 70}, general=500)
    with pytest.raises(
        ValueError, match=r"new/a: plan wants 700 tokens; .* at most 4 times they give 280; lower plan\.budget_tokens"
    ):
        planned(workspace, chosen, budget_tokens=1000, when_short="refuse")


def test_without_anything_to_replay_all_goes_to_new_text(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    chosen = build_chosen(workspace, {"a": 700})
    with caplog.at_level(logging.WARNING):
        shares = planned(workspace, chosen, budget_tokens=1000)
    assert shares.tokens == {"new/a": 1000}
    assert shares.replay_share == 0
    assert "land a replay-only task" in caplog.text


def test_no_replay_is_planned_where_none_is_wanted(workspace: Workspace) -> None:
    chosen = build_chosen(workspace, {"a": 700}, general=500)
    assert planned(workspace, chosen, budget_tokens=1000, replay_share=0).tokens == {"new/a": 1000}


def test_the_buffer_is_replayed_without_its_stale_documents(workspace: Workspace) -> None:
    folder = workspace.root / "data/state/one"
    documents = [
        CountedDocument(**build_document(key, key, task).model_dump(), num_tokens=tokens)
        for key, task, tokens in [("x", "a", 300), ("y", "b", 100), ("z", "b", 500)]
    ]
    write_lines(folder / "added.jsonl", (document.model_dump() for document in documents))
    write_json(folder / "segment.json", {"counts": {}})
    segment = describe_segment(workspace, folder)
    buffer = Buffer(digest=segment.digest, segments=(segment,), num_tokens={"a": 300, "b": 600})
    chosen = build_chosen(workspace, {"a": 700}).model_copy(update={"stale": ("z",)})
    shares = planned(workspace, chosen, buffer, budget_tokens=1000, replay_share=0.4)
    assert shares.tokens == {"new/a": 600, "replay/a": 300, "replay/b": 100}


def test_nothing_left_to_train_on_is_said(workspace: Workspace) -> None:
    chosen = run_data_stages(workspace, {"a": build_texts(workspace, {"a": "short"}, task="a")}).chosen
    with pytest.raises(ValueError, match="no document to train on is left in a; read the reasons"):
        planned(workspace, chosen, budget_tokens=1000)


def test_a_share_without_new_text_is_refused() -> None:
    with pytest.raises(ValidationError, match="less than 1"):
        PlanConfig.model_validate({"budget_tokens": 1000, "mixture": {"method": "fixed", "replay_share": 1}})
