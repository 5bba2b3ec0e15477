import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from steps.core.artifacts import Buffer, Chosen, MixturePlan, Segment
from steps.core.shards import write_json, write_lines
from steps.core.state import CountedDocument, describe_segment
from steps.core.workspace import Workspace
from steps.methods.mixture import Decision, Shares
from steps.plan import PlanConfig, plan, supply_of
from steps.plan import planned as in_whole_tokens
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
    fixed = {"method": "fixed", **{name: knobs.pop(name) for name in ("replay_share", "new") if name in knobs}}
    config = PlanConfig(mixture=knobs.pop("mixture", fixed), **knobs)
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


def decided(workspace: Workspace, chosen: Chosen, decision: Decision, **knobs: Any) -> MixturePlan:
    config = PlanConfig(**knobs)
    supply = supply_of(workspace, config, chosen, empty(Buffer), build_model(workspace), NO_ITEMS)
    return in_whole_tokens(config, supply, decision)


def stage(part: float, replay: float, new: Mapping[str, float], general: float = 1) -> Shares:
    return Shares(part=part, replay=replay, new_weights=new, replay_weights={"general": general})


def test_a_decision_like_that_of_fixed_gives_the_very_plan_of_fixed(workspace: Workspace) -> None:
    chosen = build_chosen(workspace, {"a": 600, "b": 200}, general=500)
    fixed = planned(workspace, chosen, budget_tokens=997)
    same = {"method": "temperature", "temperature": 1}
    assert planned(workspace, chosen, budget_tokens=997, mixture=same) == fixed
    again = Decision(stages=(Shares(replay=0.3, new_weights={"a": 3, "b": 1}, replay_weights={"general": 9}),))
    assert decided(workspace, chosen, again, budget_tokens=997) == fixed


@pytest.mark.parametrize("budget", [3, 10, 101, 997, 1999])
def test_stages_add_up_to_the_budget_and_to_the_whole(workspace: Workspace, budget: int) -> None:
    chosen = build_chosen(workspace, {"a": 333, "b": 177}, general=600)
    both = Decision(stages=(stage(0.7, 0, {"a": 1, "b": 2}), stage(0.3, 0.9, {"a": 1})))
    shares = decided(workspace, chosen, both, budget_tokens=budget)
    assert sum(sum(part.values()) for part in shares.stages) == sum(shares.tokens.values()) == budget
    for source, tokens in shares.tokens.items():
        assert sum(part.get(source, 0) for part in shares.stages) == tokens
    assert shares.replay_share == shares.tokens.get("replay/general", 0) / budget


def test_a_stage_can_be_all_replay(workspace: Workspace) -> None:
    chosen = build_chosen(workspace, {"a": 600}, general=500)
    both = Decision(stages=(stage(0.5, 0, {"a": 1}), stage(0.5, 1, {})))
    shares = decided(workspace, chosen, both, budget_tokens=1000)
    assert shares.stages == ({"new/a": 500}, {"replay/general": 500})


def test_stages_share_what_a_source_can_give(workspace: Workspace) -> None:
    chosen = build_chosen(workspace, {"a": 600, "b": 600}, general=500)
    both = Decision(stages=(stage(0.5, 0, {"a": 1}), stage(0.5, 0.4, {"a": 1, "b": 1})))
    shares = decided(workspace, chosen, both, budget_tokens=1000, max_epochs=1)
    assert shares.stages[0] == {"new/a": 500}
    assert shares.stages[1] == {"new/a": 100, "new/b": 200, "replay/general": 200}


def test_too_little_new_text_shrinks_every_stage_alike(workspace: Workspace) -> None:
    chosen = build_chosen(workspace, {"a": 365}, general=500)
    both = Decision(stages=(stage(0.7, 0, {"a": 1}), stage(0.3, 0.9, {"a": 1})))
    shares = decided(workspace, chosen, both, budget_tokens=1000, max_epochs=1)
    assert shares.stages == ({"new/a": 350}, {"new/a": 15, "replay/general": 135})
    with pytest.raises(ValueError, match=r"plan wants 730 tokens; .* 365; lower plan\.budget_tokens"):
        decided(workspace, chosen, both, budget_tokens=1000, max_epochs=1, when_short="refuse")


def test_an_unknown_task_in_a_decision_is_refused_by_name(workspace: Workspace) -> None:
    chosen = build_chosen(workspace, {"a": 600}, general=500)
    wrong = Decision(stages=(Shares(replay=0.3, new_weights={"a": 1, "law": 1}, replay_weights={"b": 1}),))
    with pytest.raises(ValueError, match="no text of new/law, replay/b; weigh some of"):
        decided(workspace, chosen, wrong, budget_tokens=100)


def test_new_text_of_no_task_is_refused(workspace: Workspace) -> None:
    chosen = build_chosen(workspace, {"a": 600}, general=500)
    with pytest.raises(ValueError, match=r"a share of 0.7 is new text, but no task has weight; .*'a'"):
        decided(workspace, chosen, Decision(stages=(stage(1, 0.3, {"a": 0}),)), budget_tokens=100)


@pytest.mark.parametrize(
    "wrong", [{"replay": float("nan")}, {"new_weights": {"a": float("nan")}}, {"replay_weights": {"a": -1.0}}]
)
def test_shares_that_are_no_numbers_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Shares.model_validate({"replay": 0.3, "new_weights": {"a": 1.0}, "replay_weights": {}, **wrong})


def test_stages_that_are_not_the_whole_budget_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"parts of stages that sum to 1, found \[0\.5, 0\.4\]"):
        Decision(stages=(stage(0.5, 0, {"a": 1}), stage(0.4, 0, {"a": 1})))


def test_a_buffer_of_two_hundred_segments_is_planned_without_reading_one(workspace: Workspace) -> None:
    segments = tuple(Segment(path=f"data/state/{n}", digest=f"{n}") for n in range(200))  # none is there
    buffer = Buffer(digest="many", segments=segments, num_tokens={"b": 300})
    chosen = build_chosen(workspace, {"a": 700})
    assert planned(workspace, chosen, buffer, budget_tokens=1000).tokens == {"new/a": 700, "replay/b": 300}


def test_general_text_that_landed_again_counts_once(workspace: Workspace) -> None:
    folder = workspace.root / "data/state/one"
    old = CountedDocument(**build_document("general", "old", "general").model_dump(), num_tokens=900)
    write_lines(folder / "added.jsonl", [old.model_dump()])
    write_json(folder / "segment.json", {"counts": {}})
    segment = describe_segment(workspace, folder)
    buffer = Buffer(digest=segment.digest, segments=(segment,), num_tokens={"general": 900})
    chosen = build_chosen(workspace, {"a": 700}, general=100)
    supply = supply_of(workspace, PlanConfig(budget_tokens=1), chosen, buffer, build_model(workspace), NO_ITEMS)
    assert supply.replay == {"general": 100}
