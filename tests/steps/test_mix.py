from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from steps.core.artifacts import Buffer, MixturePlan, TrainingSet
from steps.core.shards import digest_of, read_lines, write_lines
from steps.core.streams import Streams
from steps.core.tokenizer import end_token, load_tokenizer
from steps.core.workspace import Workspace
from steps.mix import MixConfig, mix
from steps.plan import PlanConfig, plan
from steps.replay import ReplayConfig, replay
from tests.builders import (
    NO_ITEMS,
    Data,
    at_stage,
    build_model,
    build_texts,
    build_workspace,
    empty,
    prose,
    rows,
    run_data_stages,
)

CONFIG = MixConfig(block_tokens=64, blocks_per_step=4)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return build_workspace(tmp_path)


def build_data(workspace: Workspace) -> Data:
    corpus = {
        "a": build_texts(workspace, {f"a{number}": prose(number) for number in range(12)}, task="a"),
        "b": build_texts(workspace, {f"b{number}": prose(100 + number) for number in range(6)}, task="b"),
        "general": build_texts(
            workspace, {f"g{number}": prose(200 + number) for number in range(9)}, task="general", role="replay-only"
        ),
    }
    return run_data_stages(workspace, corpus)


def mixed(
    workspace: Workspace, data: Data, tokens: dict[str, int], config: MixConfig = CONFIG, **facts: Any
) -> TrainingSet:
    shares = MixturePlan(digest=digest_of([tokens, facts]), tokens=tokens, replay_share=0.0, **facts)
    return mix(at_stage(workspace, "mix"), config, data.chosen, data.buffer, build_model(workspace), shares)


def settings(**knobs: Any) -> MixConfig:
    return MixConfig.model_validate({"block_tokens": 64, "blocks_per_step": 4} | knobs)


class Drawn(NamedTuple):
    """What training reads, in its order: tokens and loss mask [N, T]; the sources [N] by their places, -1 for none."""

    sources: np.ndarray
    input_ids: np.ndarray
    loss_mask: np.ndarray


def drawn(workspace: Workspace, made: TrainingSet) -> Drawn:
    folder = workspace.at(made.path)
    order_N4 = np.load(folder / "order.npy")
    streams = Streams(folder, len(list((folder / "streams").iterdir())))
    there = order_N4[:, 0] >= 0
    input_ids, loss_mask, *_ = streams.read(order_N4[there])
    shape = (len(order_N4), made.block_tokens)
    input_ids_NT, loss_mask_NT = np.zeros(shape, dtype=np.int64), np.zeros(shape, dtype=bool)
    input_ids_NT[there], loss_mask_NT[there] = input_ids.numpy(), loss_mask.numpy()
    return Drawn(order_N4[:, 0], input_ids_NT, loss_mask_NT)


PLAN = {"new/a": 1500, "new/b": 700, "replay/general": 1000}
ORDERS = [
    {"method": "interleaved"},
    {"method": "shuffled"},
    {"method": "by-length"},
    {"method": "by-length", "direction": "long-first"},
    {"method": "subset-epochs", "num_epochs": 3},
]


@pytest.mark.parametrize("document_mask", [False, True])
@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_every_source_gets_exactly_its_loss_tokens(
    workspace: Workspace, order: dict[str, Any], document_mask: bool
) -> None:
    config = settings(order=order, document_mask=document_mask)
    made = mixed(workspace, build_data(workspace), PLAN, config)
    assert made.achieved == made.planned == PLAN
    blocks = drawn(workspace, made)
    assert len(blocks.sources) == made.num_steps * made.blocks_per_step
    assert not blocks.loss_mask[:, 0].any()
    assert [int(blocks.loss_mask[blocks.sources == source].sum()) for source in range(3)] == list(PLAN.values())


def test_draws_that_only_fill_the_last_step_carry_no_loss(workspace: Workspace) -> None:
    made = mixed(workspace, build_data(workspace), {"new/a": 63 * 5})
    blocks = drawn(workspace, made)
    assert made.num_steps == 2
    assert blocks.sources.tolist() == [0] * 5 + [-1] * 3
    assert not blocks.loss_mask[5:].any()


def test_a_block_holds_one_source_and_documents_end_with_the_separator(workspace: Workspace) -> None:
    data = build_data(workspace)
    made = mixed(workspace, data, PLAN)
    blocks = drawn(workspace, made)
    tokenizer = load_tokenizer(workspace, build_model(workspace))
    end = end_token(tokenizer)
    for source, start, count in ((0, 0, 12), (1, 100, 6), (2, 200, 9)):
        texts = {prose(start + number) for number in range(count)}
        stream = blocks.input_ids[blocks.sources == source].ravel().tolist()
        cuts = [place for place, token in enumerate(stream) if token == end]
        assert tokenizer.decode(stream[: cuts[0]]) in texts
        assert tokenizer.decode(stream[cuts[0] + 1 : cuts[1]]) in texts


def test_with_a_mask_a_document_s_first_token_in_a_block_carries_no_loss(workspace: Workspace) -> None:
    made = mixed(workspace, build_data(workspace), PLAN, settings(document_mask=True))
    blocks = drawn(workspace, made)
    end = end_token(load_tokenizer(workspace, build_model(workspace)))
    after_NT = np.zeros_like(blocks.loss_mask)
    after_NT[:, 1:] = blocks.input_ids[:, :-1] == end
    assert not blocks.loss_mask[after_NT].any()
    last = [np.flatnonzero(blocks.sources == source)[-1] for source in range(3)]
    whole = np.isin(np.arange(len(blocks.sources)), last, invert=True) & (blocks.sources >= 0)
    after_NT[:, 0] = True
    assert (blocks.loss_mask[whole] == ~after_NT[whole]).all()


def test_stages_come_one_after_the_other_each_interleaved(workspace: Workspace) -> None:
    stages = ({"new/a": 63 * 12, "replay/general": 63 * 4}, {"new/a": 63 * 2, "new/b": 630, "replay/general": 63 * 4})
    total = {"new/a": 63 * 14, "new/b": 630, "replay/general": 63 * 8}
    made = mixed(workspace, build_data(workspace), total, stages=stages)
    assert made.achieved == total
    of_steps = drawn(workspace, made).sources.reshape(-1, 4)
    assert [sorted(step) for step in of_steps[:4].tolist()] == [[0, 0, 0, 2]] * 4
    assert np.bincount(of_steps[4:].ravel(), minlength=3).tolist() == [2, 10, 4]
    assert all(2 in step for step in of_steps.tolist())


@pytest.mark.parametrize("document_mask", [False, True])
@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_a_block_on_the_border_of_two_stages_gives_each_its_tokens(
    workspace: Workspace, order: dict[str, Any], document_mask: bool
) -> None:
    stages = ({"new/a": 700, "replay/general": 300}, {"new/a": 101, "new/b": 598, "replay/general": 301})
    total = {"new/a": 801, "new/b": 598, "replay/general": 601}
    config = settings(order=order, document_mask=document_mask)
    made = mixed(workspace, build_data(workspace), total, config, stages=stages)
    assert made.achieved == total
    blocks = drawn(workspace, made)
    carried, replayed = np.cumsum(blocks.loss_mask.sum(axis=1)), blocks.sources == 2
    assert 1000 in carried, "no draw lies in both"
    first = slice(0, int(np.searchsorted(carried, 1000)) + 1)
    assert int(blocks.loss_mask[first][replayed[first]].sum()) == 300


def test_no_document_comes_twice_before_all_came_once(workspace: Workspace) -> None:
    data = build_data(workspace)
    made = mixed(workspace, data, {"new/a": 9000, "new/b": 300})
    used: list[dict[str, Any]] = rows(workspace.at(made.path) / "used.jsonl")
    times = [row["times"] for row in used if row["source"] == "new/a"]
    assert len(times) == 12
    assert max(times) - min(times) <= 1
    assert [row["times"] for row in used if row["source"] == "new/b"] == [1, 1]


@pytest.mark.parametrize("document_mask", [False, True])
def test_a_third_of_the_budget_is_read_three_times(workspace: Workspace, document_mask: bool) -> None:
    config = settings(order={"method": "subset-epochs", "num_epochs": 3}, document_mask=document_mask)
    data = build_data(workspace)
    once, thrice = (mixed(workspace, data, {"new/a": 2400}, each) for each in (CONFIG, config))
    assert once.achieved == thrice.achieved
    times = [row["times"] for row in rows(workspace.at(thrice.path) / "used.jsonl")]
    assert len(times) < 12  # a third of 2,400 tokens, in documents of about 200
    assert max(times) == 3
    assert sum(n < 3 for n in times) <= 1  # the last document of the last epoch may not be reached


@pytest.mark.parametrize("document_mask", [False, True])
@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_a_plan_is_met_within_half_a_point(workspace: Workspace, order: dict[str, Any], document_mask: bool) -> None:
    config = settings(order=order, document_mask=document_mask)
    data = build_data(workspace)
    shares = plan(
        at_stage(workspace, "plan"),
        PlanConfig(budget_tokens=3333),
        data.chosen,
        data.buffer,
        build_model(workspace),
        NO_ITEMS,
    )
    made = mix(at_stage(workspace, "mix"), config, data.chosen, data.buffer, build_model(workspace), shares)
    replayed = sum(count for source, count in made.achieved.items() if source.startswith("replay/"))
    assert abs(replayed / sum(made.achieved.values()) - 0.30) < 0.005


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_order(tmp_path: Path) -> None:
    made = []
    for place, seed in (("one", 1), ("two", 1), ("three", 2)):
        workspace = build_workspace(tmp_path / place, seed=seed)
        made.append(mixed(workspace, build_data(workspace), PLAN))
    assert made[0] == made[1]
    assert made[0].digest != made[2].digest


def test_a_superseded_text_is_never_trained_on_again(workspace: Workspace) -> None:
    old, new, other = prose(1), prose(1).replace(".", " 7.", 1), prose(2)
    model = build_model(workspace)
    first = run_data_stages(workspace, {"a": build_texts(workspace, {"page": old, "other": other}, task="a")})
    held = replay(
        at_stage(workspace, "first/replay"),
        ReplayConfig(),
        first.chosen,
        empty(Buffer),
        model,
        model,
        first.holdout.validation,
    )
    before = Data(first.holdout, first.kept, first.chosen, first.index, first.state, held)
    corpus = {"a": build_texts(workspace, {"page": new}, task="a", place="later")}
    second = run_data_stages(workspace, corpus, before, refresh="second")
    config = PlanConfig.model_validate({"budget_tokens": 600, "mixture": {"method": "fixed", "replay_share": 0.5}})
    shares = plan(workspace, config, second.chosen, held, model, NO_ITEMS)
    assert set(shares.tokens) == {"new/a", "replay/a"}
    made = mix(at_stage(workspace, "mix"), CONFIG, second.chosen, held, model, shares)
    used = rows(workspace.at(made.path) / "used.jsonl")
    assert {(row["source"], row["key"]) for row in used} == {("new/a", "page"), ("replay/a", "other")}
    blocks = drawn(workspace, made)
    tokenizer = load_tokenizer(workspace, model)
    streams = [tokenizer.decode(blocks.input_ids[blocks.sources == source].ravel()) for source in (0, 1)]
    assert new in streams[0]
    assert other in streams[1]
    assert not any(old in stream for stream in streams)


def test_a_source_without_text_is_refused(workspace: Workspace) -> None:
    with pytest.raises(ValueError, match="replay/gone: plan wants 10 tokens, found no text"):
        mixed(workspace, build_data(workspace), {"replay/gone": 10})


def test_a_steered_plan_packs_what_training_may_want_and_leaves_the_draws_to_it(workspace: Workspace) -> None:
    at_hand = {"new/a": 9000, "new/b": 1200, "new/c": 0, "replay/general": 2000}
    steered = {"method": "skill-graph", "update_steps": 2}
    made = mixed(workspace, build_data(workspace), PLAN, steered=steered, at_hand=at_hand)
    assert made.steered == steered
    assert made.achieved == made.planned == PLAN
    assert made.num_steps == -(-(24 + 12 + 16) // 4)  # blocks of 63 loss tokens by the first shares
    folder = workspace.at(made.path)
    assert not (folder / "order.npy").exists()
    lengths = [int(num_losses_B.sum()) for num_losses_B in Streams(folder, 3).num_losses]
    assert lengths == [-(-tokens // 63) * 63 for tokens in (3200, 1200, 2000)]


def test_what_is_not_drawn_is_not_tokenised(workspace: Workspace) -> None:
    pages = {f"a{number}": prose(number) for number in range(60)}
    data = run_data_stages(workspace, {"a": build_texts(workspace, pages, task="a")})
    first = mixed(workspace, data, {"new/a": 900})
    used = {row["key"] for row in rows(workspace.at(first.path) / "used.jsonl")}
    assert len(used) < 10
    path = workspace.at(data.chosen.path) / "a" / "documents.jsonl"
    unread = [row if row["key"] in used else {**row, "text": 7} for row in read_lines(path)]
    write_lines(path, unread)  # a tokenizer refuses a number
    assert mixed(workspace, data, {"new/a": 900}) == first
    with pytest.raises(TypeError):
        mixed(workspace, data, {"new/a": 9000})


def test_a_section_loads_dumps_and_loads_equal() -> None:
    section = settings(order={"method": "by-length", "direction": "long-first"}, document_mask=True)
    assert MixConfig.model_validate(section.model_dump(mode="json")) == section
    assert MixConfig().model_dump()["order"] == {"method": "interleaved"}
