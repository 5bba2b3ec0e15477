import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from steps.core.artifacts import Buffer
from steps.core.state import buffer_documents, current_holdout, read_buffer
from steps.core.workspace import Workspace
from steps.methods.replay import Entry, Memory
from steps.replay import MOST_SEGMENTS, SPARE_ROWS, ReplayConfig, evidence_of, replay
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
from tests.steps.buffers import METHODS, NAMES, choose, fill, made_up, method_of
from tests.tiny_models import parent_model, validation_items


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


def test_a_document_says_where_it_comes_from_and_why_it_is_held(workspace: Workspace) -> None:
    method, buffer = method_of({"method": "balanced", "capacity": 3}), empty(Buffer)
    buffer = fill(workspace, method, choose(workspace, {"code": {"a": "one"}, "general": {"g": "two"}}), buffer, "r1")
    buffer = fill(workspace, method, choose(workspace, {"law": {"b": "three"}}), buffer, "r2")
    found = buffer_documents(workspace, buffer)
    facts = {key: (each.task, each.batch, each.refresh, each.general, each.why) for key, each in found.items()}
    assert facts == {
        "a": ("code", "batch-1", 1, False, "task code"),
        "g": ("general", "batch-1", 1, True, "task general"),
        "b": ("law", "batch-1", 2, False, "task law"),
    }


def test_a_new_reason_is_written_and_read_but_not_the_document_again(workspace: Workspace) -> None:
    chosen = choose(workspace, {"code": {"a": "one", "b": "two"}})
    first = fill(workspace, method_of({"method": "reservoir", "capacity": 9}), chosen, empty(Buffer), "r1")
    second = fill(workspace, method_of({"method": "balanced", "capacity": 9}), choose(workspace, {}), first, "r2")
    folder = workspace.at(second.segments[-1].path)
    assert rows(folder / "added.jsonl") == []
    assert [row["why"] for row in rows(folder / "changed.jsonl")] == ["task code"] * 2
    assert [each.why for each in buffer_documents(workspace, second).values()] == ["task code"] * 2
    assert {each.why for each in buffer_documents(workspace, first).values()} == {
        "a uniform draw from all that is current"
    }


def test_the_counters_of_another_method_are_not_handed_on(workspace: Workspace) -> None:
    chosen = choose(workspace, {"code": {"a": "one", "b": "two"}})
    first = fill(workspace, method_of({"method": "reservoir", "capacity": 9}), chosen, empty(Buffer), "r1")
    second = fill(workspace, method_of({"method": "balanced", "capacity": 9}), choose(workspace, {}), first, "r2")
    assert read_buffer(workspace, second).counts == {"seed": workspace.seed}


def test_what_a_method_decided_by_is_in_the_segment_and_in_the_log(
    workspace: Workspace, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    chosen = choose(workspace, {"code": {"a": "one"}, "law": {"b": "two"}})
    buffer = fill(workspace, method_of({"method": "forgetting-weighted", "capacity": 9}), chosen, empty(Buffer), "r1")
    facts = json.loads((workspace.at(buffer.segments[-1].path) / "segment.json").read_text())
    assert facts["told"]["task law"]["rise_nats"] == 0.1
    assert sum(numbers["weight"] for numbers in facts["told"].values()) == pytest.approx(1.0)
    assert "buffer, task law: rise_nats 0.1, weight" in caplog.text


def test_evidence_is_the_change_of_mean_loss_from_parent_to_candidate(tmp_path: Path) -> None:
    workspace = build_workspace(tmp_path)
    parent, candidate = parent_model(workspace), parent_model(workspace, "candidate", seed=1)
    validation, texts = validation_items(workspace), {"a": prose(1), "b": prose(2)}
    same = evidence_of(workspace, parent, parent, validation, texts)
    assert same.rise() == {"alpha": 0.0}
    evidence = evidence_of(workspace, parent, candidate, validation, texts)
    before_N, after_N = evidence.losses(["b", "a"])
    assert same.losses(["b", "a"])[1].tolist() == before_N.tolist()
    assert (before_N != after_N).all()
    assert evidence.rise() == evidence_of(workspace, parent, candidate, validation, {}).rise() != {"alpha": 0.0}
    assert [len(each) for each in evidence.losses([])] == [0, 0]


@pytest.mark.parametrize("knobs", METHODS[5:], ids=NAMES[5:])
def test_what_the_models_say_fills_the_buffer_the_same_way_every_time(tmp_path: Path, knobs: dict[str, Any]) -> None:
    made = []
    for place in ("one", "two"):
        workspace = build_workspace(tmp_path / place)
        parent, candidate = parent_model(workspace), parent_model(workspace, "candidate", seed=1)
        corpus = {"topics": build_texts(workspace, {f"k{number}": prose(number, 20) for number in range(24)})}
        data = run_data_stages(workspace, corpus, splitting=SplitConfig(gate_share=0.1, validation_share=0.1))
        config, stage = ReplayConfig.model_validate({"buffer": knobs}), at_stage(workspace, "replay")
        buffer = replay(stage, config, data.chosen, data.buffer, parent, candidate, data.holdout.validation)
        made.append(contents(workspace.at(buffer.segments[0].path)))
    assert made[0] == made[1]
    told = json.loads(made[0]["segment.json"])["told"]
    assert {row["why"] for row in map(json.loads, made[0]["added.jsonl"].splitlines())} <= told.keys()


@pytest.mark.parametrize("knobs", METHODS[:5], ids=NAMES[:5])
def test_no_model_is_loaded_for_a_method_that_asks_nothing(workspace: Workspace, knobs: dict[str, Any]) -> None:
    data = run_data_stages(workspace, {"topics": build_texts(workspace, {"a": prose(1)})})
    nowhere = build_model(workspace).model_copy(update={"path": "models/nowhere"})
    config = ReplayConfig.model_validate({"buffer": knobs})
    buffer = replay(workspace, config, data.chosen, data.buffer, nowhere, nowhere, data.holdout.validation)
    assert len(buffer.segments) == 1  # there is no model at that path: asking one would have raised


@pytest.mark.parametrize("knobs", METHODS[5:], ids=NAMES[5:])
def test_a_method_that_asks_loads_the_models(workspace: Workspace, knobs: dict[str, Any]) -> None:
    splitting = SplitConfig(gate_share=0.3, validation_share=0.3)
    corpus = {"topics": build_texts(workspace, {f"k{number}": prose(number) for number in range(20)})}
    data = run_data_stages(workspace, corpus, splitting=splitting)
    nowhere = build_model(workspace).model_copy(update={"path": "models/nowhere"})
    config = ReplayConfig.model_validate({"buffer": knobs})
    with pytest.raises(ValueError, match="nowhere"):
        replay(workspace, config, data.chosen, data.buffer, nowhere, nowhere, data.holdout.validation)


def landing(number: int) -> tuple[dict[str, dict[str, str]], list[str]]:
    """What refresh `number` of a long line brings: six documents, one of them a new text of an old key; one leaves."""
    code = {f"c{number}-{k}": f"code {number} {k}" for k in range(3)}
    law = {f"l{number % 7}": f"law {number}", f"m{number}": f"more law {number}"}
    return {"code": code, "law": law, "general": {f"g{number}": f"general {number}"}}, [f"c{number - 2}-0"]


@pytest.mark.parametrize("knobs", METHODS, ids=NAMES)
def test_two_hundred_refreshes_read_no_more_than_a_few_and_hold_what_they_would_hold_in_memory(
    workspace: Workspace, knobs: dict[str, Any]
) -> None:
    method, buffer, memory = method_of(knobs), empty(Buffer), Memory()
    texts: dict[str, str] = {}
    early, most_rows = buffer, 0
    for number in range(200):
        offered, stale = landing(number)
        buffer = fill(workspace, method, choose(workspace, offered, stale), buffer, f"r{number}")
        if number == 20:
            early, held_early = buffer, buffer_documents(workspace, buffer)
        arrivals = [
            Entry(key, task, len(text), number + 1, task == "general")
            for task in ("code", "law", "general")
            for key, text in offered[task].items()
        ]
        leaving = [*stale, *(entry.key for entry in arrivals if entry.key in memory.keys)]
        staying = [entry for entry in memory.entries if entry.key not in leaving]
        texts |= {key: text for own in offered.values() for key, text in own.items()}
        known = made_up({entry.key: texts[entry.key] for entry in (*staying, *arrivals)})
        after = method.update(memory, leaving, arrivals, known, workspace.seed)
        why = {entry.key: entry.why for entry in after.entries}
        stay = tuple(each._replace(why=why[each.key]) for each in (*staying, *arrivals) if each.key in why)
        memory = Memory(stay, after.counts)
        assert len(buffer.segments) <= MOST_SEGMENTS
        if number % 10 == 9:
            most_rows = max(most_rows, read_buffer(workspace, buffer).num_rows)
    found = read_buffer(workspace, buffer)
    entries = [Entry(k, d.task, d.num_tokens, d.refresh, d.general, d.why) for k, d in found.documents.items()]
    assert entries == list(memory.entries)
    assert {key: document.text for key, document in found.documents.items()} == {key: texts[key] for key in memory.keys}
    assert (found.counts, found.refresh) == (memory.counts, 200)
    assert most_rows <= 2 * 20 + SPARE_ROWS
    assert buffer_documents(workspace, early) == held_early, "an old version keeps its own segments"


def test_a_buffer_with_many_rows_is_written_anew_and_says_so(workspace: Workspace) -> None:
    method, buffer = method_of({"method": "reservoir", "capacity": 400}), empty(Buffer)
    told, before = [], dict[str, str]()
    for number in range(5):  # everything is replaced: 400 rows leave, 400 come
        texts = {f"{number}-{k}": f"{number} {k}" for k in range(400)}
        buffer = fill(workspace, method, choose(workspace, {"code": texts}, list(before)), buffer, f"r{number}")
        facts = json.loads((workspace.at(buffer.segments[-1].path) / "segment.json").read_text())
        told.append((len(buffer.segments), facts["replaces"], read_buffer(workspace, buffer).num_rows))
        before = texts
    assert told == [(1, 0, 400), (2, 0, 1200), (1, 2, 800), (2, 0, 1600), (1, 2, 800)]
    assert set(buffer_documents(workspace, buffer)) == set(before)


KEYS = st.sampled_from([f"k{number}" for number in range(12)])


@pytest.mark.parametrize("knobs", METHODS, ids=NAMES)
@given(refreshes=st.lists(st.tuples(st.frozensets(KEYS), st.frozensets(KEYS)), min_size=1, max_size=6))
@settings(max_examples=25, deadline=None, derandomize=True, database=None)
def test_whatever_comes_and_goes_a_method_holds_only_what_it_may(
    knobs: dict[str, Any], refreshes: list[tuple[frozenset[str], frozenset[str]]]
) -> None:
    method, memory = method_of(knobs), Memory()
    for number, (coming, going) in enumerate(refreshes, 1):
        offered = [
            Entry(key, ("code", "law", "general")[int(key[1:]) % 3], 5, number, key in {"k2", "k5"})
            for key in sorted(coming)
        ]
        stale = sorted(going | {key for key in memory.keys if key in coming})
        allowed = {entry.key: entry for entry in memory.entries if entry.key not in stale}
        allowed |= {entry.key: entry for entry in offered}
        after = method.update(memory, stale, offered, made_up({key: f"{key} {number}" for key in allowed}), seed=3)
        assert [entry._replace(why="") for entry in after.entries] == [
            allowed[key]._replace(why="") for key in after.keys
        ]
        assert len(set(after.keys)) == len(after.keys) <= knobs.get("capacity", 0)
        again = method.update(memory, stale, offered, made_up({key: f"{key} {number}" for key in allowed}), seed=3)
        assert again == after
        memory = after


@pytest.mark.parametrize("knobs", METHODS[:5], ids=NAMES[:5])
@given(
    landings=st.lists(
        st.tuples(st.frozensets(st.integers(0, 15)), st.frozensets(st.integers(0, 15))), min_size=2, max_size=4
    ),
    share=st.sampled_from([0.0, 0.3, 0.6]),
)
@settings(max_examples=6, deadline=None, derandomize=True, database=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_hold_out_is_ever_in_a_buffer(
    tmp_path_factory: pytest.TempPathFactory,
    knobs: dict[str, Any],
    landings: list[tuple[frozenset[int], frozenset[int]]],
    share: float,
) -> None:
    workspace = build_workspace(tmp_path_factory.mktemp("line"))
    config = ReplayConfig.model_validate({"buffer": knobs})
    data: Data | None = None
    for number, (landed, withdrawn) in enumerate(landings):
        splitting = NOTHING_HELD if number == 0 else SplitConfig(gate_share=share, validation_share=share / 2)
        texts = {f"k{key}": prose(100 * number + key) for key in landed}
        gone = tuple(f"k{key}" for key in sorted(withdrawn - landed))
        data = refresh(workspace, f"r{number}", config, texts, data, splitting, gone)
        assert not held(workspace, data).keys() & current_holdout(workspace, data.state).parts().keys()
