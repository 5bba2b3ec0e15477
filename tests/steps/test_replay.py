from pathlib import Path

import pytest
from pydantic import ValidationError

from steps.core.artifacts import Buffer
from steps.core.state import buffer_documents, read_buffer
from steps.core.workspace import Workspace
from steps.replay import ReplayConfig, replay
from steps.split import SplitConfig
from tests.builders import (
    NOTHING_HELD,
    Data,
    at_stage,
    build_model,
    build_texts,
    build_workspace,
    contents,
    empty,
    prose,
    rows,
    run_data_stages,
)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return build_workspace(tmp_path)


def keep(method: str = "reservoir", **knobs: int) -> ReplayConfig:
    return ReplayConfig.model_validate({"buffer": {"method": method, **knobs}})


def refresh(
    workspace: Workspace,
    name: str,
    config: ReplayConfig,
    texts: dict[str, str],
    before: Data | None = None,
    splitting: SplitConfig = NOTHING_HELD,
    withdrawn: tuple[str, ...] = (),
) -> Data:
    """One refresh of one task; the buffer that comes out of it is in the result."""
    corpus = {"topics": build_texts(workspace, texts, withdrawn=withdrawn, place=f"{name}/ingest")}
    data = run_data_stages(workspace, corpus, before, splitting, refresh=name)
    model = build_model(workspace)
    stage = at_stage(workspace, f"{name}/replay")
    buffer = replay(stage, config, data.chosen, data.buffer, model, model, data.holdout.validation)
    return Data(data.holdout, data.kept, data.chosen, data.index, data.state, buffer)


def held(workspace: Workspace, data: Data) -> dict[str, str]:
    return {key: document.text for key, document in buffer_documents(workspace, data.buffer).items()}


def test_what_was_trained_on_is_kept_with_its_tokens(workspace: Workspace) -> None:
    texts = {"a": prose(1), "b": prose(2)}
    data = refresh(workspace, "first", keep(capacity=10), texts)
    assert held(workspace, data) == texts
    assert data.buffer.num_tokens == {"topics": len(prose(1)) + len(prose(2))}
    assert read_buffer(workspace, data.buffer).counts["seen"] == 2


def test_replay_only_documents_are_kept_too(workspace: Workspace) -> None:
    corpus = {
        "topics": build_texts(workspace, {"a": prose(1)}),
        "general": build_texts(workspace, {"g": prose(2)}, task="general", role="replay-only"),
    }
    data, model = run_data_stages(workspace, corpus), build_model(workspace)
    buffer = replay(workspace, keep(capacity=9), data.chosen, empty(Buffer), model, model, data.holdout.validation)
    assert set(buffer_documents(workspace, buffer)) == {"a", "g"}


def test_a_superseded_text_is_never_in_a_later_buffer(workspace: Workspace) -> None:
    first = refresh(workspace, "first", keep(capacity=10), {"a": prose(1), "b": prose(2)})
    second = refresh(workspace, "second", keep(capacity=10), {"a": prose(3)}, first)
    assert held(workspace, second) == {"b": prose(2), "a": prose(3)}
    third = refresh(workspace, "third", keep(capacity=10), {"a": "dropped"}, second)
    assert held(workspace, third) == {"b": prose(2)}
    fourth = refresh(workspace, "fourth", keep(capacity=10), {}, third, withdrawn=("b",))
    assert held(workspace, fourth) == {}
    assert rows(workspace.at(fourth.buffer.segments[-1].path) / "removed.jsonl") == [{"key": "b", "reason": "stale"}]
    assert held(workspace, first) == {"a": prose(1), "b": prose(2)}, "a segment is immutable"


def test_a_full_buffer_evicts(workspace: Workspace) -> None:
    first = refresh(workspace, "first", keep(capacity=8), {f"a{number}": prose(number) for number in range(8)})
    texts = {f"b{number}": prose(100 + number) for number in range(40)}
    second = refresh(workspace, "second", keep(capacity=8), texts, first)
    after = held(workspace, second)
    assert len(after) == 8
    gone = rows(workspace.at(second.buffer.segments[-1].path) / "removed.jsonl")
    assert {row["key"] for row in gone} == set(held(workspace, first)) - set(after)
    assert {row["reason"] for row in gone} == {"evicted"}
    assert second.buffer.num_tokens == {"topics": sum(map(len, after.values()))}


def test_a_buffer_can_be_given_up(workspace: Workspace) -> None:
    first = refresh(workspace, "first", keep(capacity=8), {"a": prose(1)})
    second = refresh(workspace, "second", keep("none"), {"b": prose(2)}, first)
    assert held(workspace, second) == {}
    assert second.buffer.num_tokens == {}


def test_the_buffer_never_holds_a_hold_out(workspace: Workspace) -> None:
    texts = {f"k{number}": prose(number) for number in range(40)}
    splitting = SplitConfig(gate_share=0.3, validation_share=0.2)
    first = refresh(workspace, "first", keep(capacity=100), texts, splitting=NOTHING_HELD)
    second = refresh(workspace, "second", keep(capacity=100), texts, first, splitting)
    assert len(held(workspace, first)) == 40
    assert len(held(workspace, second)) == 40 - second.holdout.held_out["topics"]
    model = build_model(workspace)
    with pytest.raises(AssertionError, match="topics: held-out documents in the buffer"):
        replay(workspace, keep(capacity=100), first.chosen, empty(Buffer), model, model, second.holdout.validation)


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    made = []
    for place, seed in (("one", 1), ("two", 1), ("three", 2)):
        workspace = build_workspace(tmp_path / place, seed=seed)
        data = refresh(workspace, "first", keep(capacity=5), {f"a{number}": prose(number) for number in range(40)})
        made.append((data.buffer, contents(workspace.root / "data/first/replay")))
    assert made[0] == made[1]
    assert made[0][0].digest != made[2][0].digest


@pytest.mark.parametrize("config", [ReplayConfig(), keep(capacity=7), keep("none")])
def test_a_section_loads_as_it_was_dumped(config: ReplayConfig) -> None:
    assert ReplayConfig.model_validate(config.model_dump()) == config
    assert ReplayConfig.model_validate_json(config.model_dump_json()) == config


def test_an_unknown_method_is_answered_with_those_that_exist() -> None:
    with pytest.raises(
        ValidationError, match="no method 'everything'; there are: balanced, forgetting-weighted, general"
    ):
        keep("everything")
