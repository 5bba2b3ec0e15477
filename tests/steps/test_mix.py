from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from steps.core.artifacts import Buffer, MixturePlan, TrainingSet
from steps.core.shards import digest_of
from steps.core.tokenizer import end_token, load_tokenizer
from steps.core.workspace import Workspace
from steps.mix import MixConfig, interleave, mix
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


def mixed(workspace: Workspace, data: Data, tokens: dict[str, int], config: MixConfig = CONFIG) -> TrainingSet:
    shares = MixturePlan(digest=digest_of(tokens), tokens=tokens, replay_share=0.0)
    return mix(at_stage(workspace, "mix"), config, data.chosen, data.buffer, build_model(workspace), shares)


def blocks(workspace: Workspace, made: TrainingSet) -> dict[str, np.ndarray]:
    found: dict[str, np.ndarray] = load_file(workspace.at(made.path) / "blocks.safetensors")
    return found


PLAN = {"new/a": 1500, "new/b": 700, "replay/general": 1000}


def test_every_source_gets_exactly_its_loss_tokens(workspace: Workspace) -> None:
    made = mixed(workspace, build_data(workspace), PLAN)
    assert made.achieved == made.planned == PLAN
    tensors = blocks(workspace, made)
    num_blocks = made.num_steps * made.blocks_per_step
    assert tensors["input_ids"].shape == tensors["loss_mask"].shape == (num_blocks, 64)
    assert [tensors[name].dtype.name for name in ("input_ids", "loss_mask", "source")] == ["int32", "uint8", "int32"]
    assert not tensors["loss_mask"][:, 0].any()
    assert int(tensors["loss_mask"].sum()) == sum(PLAN.values())


def test_blocks_that_only_fill_the_last_step_carry_no_loss(workspace: Workspace) -> None:
    made = mixed(workspace, build_data(workspace), {"new/a": 63 * 5})
    tensors = blocks(workspace, made)
    assert made.num_steps == 2
    assert tensors["source"].tolist() == [0] * 5 + [-1] * 3
    assert not tensors["loss_mask"][5:].any()


def test_a_block_holds_one_source_and_documents_end_with_the_separator(workspace: Workspace) -> None:
    data = build_data(workspace)
    made = mixed(workspace, data, PLAN)
    tensors = blocks(workspace, made)
    tokenizer = load_tokenizer(workspace, build_model(workspace))
    end = end_token(tokenizer)
    for source, start, count in ((0, 0, 12), (1, 100, 6), (2, 200, 9)):
        texts = {prose(start + number) for number in range(count)}
        stream = tensors["input_ids"][tensors["source"] == source].ravel().tolist()
        cuts = [place for place, token in enumerate(stream) if token == end]
        assert tokenizer.decode(stream[: cuts[0]]) in texts
        assert tokenizer.decode(stream[cuts[0] + 1 : cuts[1]]) in texts


def test_no_document_comes_twice_before_all_came_once(workspace: Workspace) -> None:
    data = build_data(workspace)
    made = mixed(workspace, data, {"new/a": 9000, "new/b": 300})
    used: list[dict[str, Any]] = rows(workspace.at(made.path) / "used.jsonl")
    times = [row["times"] for row in used if row["source"] == "new/a"]
    assert len(times) == 12
    assert max(times) - min(times) <= 1
    assert [row["times"] for row in used if row["source"] == "new/b"] == [1, 1]


@pytest.mark.parametrize("counts", [[7, 3], [70, 20, 10], [1, 1, 97], [33, 33, 34], [5], [0, 8, 2]])
@pytest.mark.parametrize("blocks_per_step", [1, 4, 8])
def test_every_step_is_near_the_shares(counts: list[int], blocks_per_step: int) -> None:
    order = np.array(interleave(counts, blocks_per_step))
    assert np.bincount(order, minlength=len(counts)).tolist() == counts
    for end in range(blocks_per_step, len(order), blocks_per_step):
        so_far = np.bincount(order[:end], minlength=len(counts))
        assert np.abs(so_far - np.array(counts) * end / len(order)).max() < 1
        step = np.bincount(order[end - blocks_per_step : end], minlength=len(counts))
        assert np.abs(step - np.array(counts) * blocks_per_step / len(order)).max() < 2


def test_a_plan_is_met_within_half_a_point(workspace: Workspace) -> None:
    data = build_data(workspace)
    shares = plan(
        at_stage(workspace, "plan"),
        PlanConfig(budget_tokens=3333),
        data.chosen,
        data.buffer,
        build_model(workspace),
        NO_ITEMS,
    )
    made = mix(at_stage(workspace, "mix"), CONFIG, data.chosen, data.buffer, build_model(workspace), shares)
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
    tensors = blocks(workspace, made)
    tokenizer = load_tokenizer(workspace, model)
    streams = [tokenizer.decode(tensors["input_ids"][tensors["source"] == source].ravel()) for source in (0, 1)]
    assert new in streams[0]
    assert other in streams[1]
    assert not any(old in stream for stream in streams)


def test_a_source_without_text_is_refused(workspace: Workspace) -> None:
    with pytest.raises(ValueError, match="replay/gone: plan wants 10 tokens, found no text"):
        mixed(workspace, build_data(workspace), {"replay/gone": 10})
