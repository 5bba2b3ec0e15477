"""Mix with labelled rows, plain text and both, and with new versions of documents that the buffer holds."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steps.core.artifacts import Buffer, Corpus, MixturePlan, Role, TrainingSet
from steps.core.documents import Message, joined
from steps.core.shards import digest_of
from steps.core.streams import Read, Streams, cut
from steps.core.tokenizer import load_tokenizer
from steps.core.workspace import Workspace
from steps.mix import MixConfig, mix
from steps.plan import PlanConfig, plan
from steps.replay import ReplayConfig, replay
from tests.builders import (
    END,
    NO_ITEMS,
    Data,
    at_stage,
    build_corpus,
    build_document,
    build_model,
    build_texts,
    build_workspace,
    empty,
    prose,
    rows,
    run_data_stages,
)

ORDERS = ["interleaved", "shuffled", "by-length", "subset-epochs"]
PLAN = {"new/both": 700, "new/plain": 800, "new/rows": 600, "replay/general": 300}


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return build_workspace(tmp_path)


def build_rows(workspace: Workspace, task: str, first: int, count: int, role: Role = "train", plain: int = 0) -> Corpus:
    """Rows of a prompt of ten words and a completion of five to nine, after some plain documents."""
    documents = [build_document(f"{task}/plain{n}", prose(first + 500 + n), task) for n in range(plain)]
    for n in range(first, first + count):
        turns = (
            Message(role="prompt", content=prose(n, 10)),
            Message(role="completion", content=prose(1000 + n, 5 + n % 5)),
        )
        document = build_document(f"{task}/{n}", joined(turns), task)
        documents.append(document.model_copy(update={"messages": turns}))
    return build_corpus(workspace, documents, task, role)


def build_data(workspace: Workspace) -> Data:
    corpus = {
        "both": build_rows(workspace, "both", 0, 12, plain=4),
        "general": build_rows(workspace, "general", 100, 8, role="replay-only"),
        "plain": build_texts(workspace, {f"p{n}": prose(300 + n) for n in range(6)}, task="plain"),
        "rows": build_rows(workspace, "rows", 200, 12),
    }
    return run_data_stages(workspace, corpus)


def mixed(workspace: Workspace, data: Data, tokens: dict[str, int], facts: dict[str, Any], **knobs: Any) -> TrainingSet:
    config = MixConfig.model_validate({"block_tokens": 128, "blocks_per_step": 4} | knobs)
    shares = MixturePlan(digest=digest_of([tokens, facts]), tokens=tokens, replay_share=0.0, **facts)
    return mix(at_stage(workspace, "mix"), config, data.chosen, data.buffer, build_model(workspace), shares)


def read(workspace: Workspace, made: TrainingSet) -> tuple[np.ndarray, Read]:
    """The sources of all draws, and what training reads of them."""
    folder = workspace.at(made.path)
    order_N4 = np.load(folder / "order.npy")
    order_N4 = order_N4[order_N4[:, 0] >= 0]
    return order_N4[:, 0], Streams(folder, len(made.achieved)).read(order_N4)


def facts_of(workspace: Workspace, made: TrainingSet) -> dict[str, Any]:
    facts: dict[str, Any] = json.loads((workspace.at(made.path) / "plan.json").read_text(encoding="utf-8"))
    return facts


@pytest.mark.parametrize("document_mask", [False, True])
@pytest.mark.parametrize("order", ORDERS)
def test_every_source_gets_exactly_its_loss_tokens(workspace: Workspace, order: str, document_mask: bool) -> None:
    made = mixed(workspace, build_data(workspace), PLAN, {}, order={"method": order}, document_mask=document_mask)
    assert made.achieved == made.planned == PLAN
    sources, found = read(workspace, made)
    masks = found.loss_mask.numpy()
    assert [int(masks[sources == number].sum()) for number in range(4)] == list(PLAN.values())
    assert found.padding is not None
    assert not (found.loss_mask & found.padding).any()
    assert found.position_ids is not None
    assert not found.loss_mask[found.position_ids == 0].any()


def test_rows_are_whole_and_carry_loss_on_their_completions(workspace: Workspace) -> None:
    made = mixed(workspace, build_data(workspace), {"new/rows": 600}, {})
    _, found = read(workspace, made)
    decode = load_tokenizer(workspace, build_model(workspace)).decode
    assert found.position_ids is not None
    assert found.padding is not None
    seen = set()
    for block in range(len(found.input_ids) - 1):  # the last is not drawn to its end
        starts = np.flatnonzero(found.position_ids[block] == 0).tolist()
        for start, stop in zip(starts, [*starts[1:], None], strict=True):
            tokens, has_loss = found.input_ids[block, start:stop], found.loss_mask[block, start:stop]
            if not found.padding[block, start]:
                seen.add((decode(tokens[~has_loss]), decode(tokens[has_loss])))
    wanted = {(prose(n, 10), f"\n\n{prose(1000 + n, 5 + n % 5)}{END}") for n in range(200, 212)}
    assert seen <= wanted
    assert len(seen) > 6


def test_padding_and_what_was_left_out_are_told(workspace: Workspace, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="steps")
    made = mixed(workspace, build_data(workspace), PLAN, {}, block_tokens=90)
    told = facts_of(workspace, made)["labelled"]
    assert set(told) == {"new/both", "new/rows", "replay/general"}
    for number, source in enumerate(sorted(PLAN)):
        if source in told:
            stream = Streams(workspace.at(made.path), 4)
            draws = np.array([(number, block, 0, 0) for block in range(stream.shapes()[number][0])], dtype=np.int32)
            padding = stream.read(draws).padding
            assert padding is not None
            assert told[source]["padding_share"] == pytest.approx(padding.double().mean().item(), abs=1e-12)
            assert f"{source}: {100 * told[source]['padding_share']:.1f} % padding" in caplog.text
    assert told["new/rows"]["cut"] > 0  # completions of more than some 30 letters


def test_used_rows_are_those_in_the_stream(workspace: Workspace) -> None:
    made = mixed(workspace, build_data(workspace), PLAN, {})
    used = rows(workspace.at(made.path) / "used.jsonl")
    decode = load_tokenizer(workspace, build_model(workspace)).decode
    streams = Streams(workspace.at(made.path), 4)
    draws = np.array([(2, block, 0, 0) for block in range(streams.shapes()[2][0])], dtype=np.int32)
    found = streams.read(draws)
    assert found.padding is not None
    texts = decode(found.input_ids[~found.padding]).split(END)[:-1]
    times = {row["key"]: row["times"] for row in used if row["source"] == "new/rows"}
    assert {key: texts.count(f"{prose(n, 10)}\n\n{prose(1000 + n, 5 + n % 5)}")
            for key in times for n in [int(key.removeprefix("rows/"))]} == times  # fmt: skip


def test_a_plan_knows_that_only_completions_carry_loss(workspace: Workspace) -> None:
    data = build_data(workspace)
    completions = sum(len(prose(1000 + n, 5 + n % 5)) for n in range(200, 212))  # a byte is a token
    assert data.chosen.num_tokens["rows"] == completions
    config = PlanConfig.model_validate({"budget_tokens": 10**6, "max_epochs": 2})
    shares = plan(at_stage(workspace, "plan"), config, data.chosen, data.buffer, build_model(workspace), NO_ITEMS)
    assert shares.tokens["new/rows"] == 2 * completions
    made = mixed(workspace, data, shares.tokens, {})
    assert made.achieved == shares.tokens
    times = [row["times"] for row in rows(workspace.at(made.path) / "used.jsonl") if row["source"] == "new/rows"]
    assert len(times) == 12
    assert max(times) <= 2


def test_a_steered_plan_packs_what_training_may_want(workspace: Workspace) -> None:
    at_hand = {"new/rows": 900, "new/both": 2000}
    tokens = {"new/rows": 400, "new/both": 600}
    facts = {"steered": {"method": "skill-graph", "update_steps": 2}, "at_hand": at_hand}
    made = mixed(workspace, build_data(workspace), tokens, facts)
    num_losses = dict(zip(sorted(tokens), Streams(workspace.at(made.path), 2).num_losses, strict=True))
    assert {source: int(losses.sum()) >= min(at_hand[source], 1000) for source, losses in num_losses.items()} == {
        "new/both": True,
        "new/rows": True,
    }
    assert made.num_steps == -(-sum(len(cut(num_losses[name], 0, count)) for name, count in tokens.items()) // 4)


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    made = []
    for place in ("one", "two"):
        workspace = build_workspace(tmp_path / place)
        made.append(mixed(workspace, build_data(workspace), PLAN, {}))
    assert made[0] == made[1]


def test_only_plain_text_is_told_nothing_of_labels(workspace: Workspace) -> None:
    made = mixed(workspace, build_data(workspace), {"new/plain": 500}, {})
    assert "labelled" not in facts_of(workspace, made)
    _, found = read(workspace, made)
    assert found.position_ids is found.padding is found.changed is None


@pytest.fixture
def renewed(workspace: Workspace) -> Data:
    """A second landing: one page of two has a new version; the buffer holds the old ones."""
    model = build_model(workspace)
    pages = {"page": prose(1), "other": prose(2)}
    first = run_data_stages(workspace, {"a": build_texts(workspace, pages, task="a")})
    there = at_stage(workspace, "first/replay")
    held = replay(there, ReplayConfig(), first.chosen, empty(Buffer), model, model, first.holdout.validation)
    before = Data(first.holdout, first.kept, first.chosen, first.index, first.state, held)
    new = {"page": prose(1).replace(".", " zebra.", 1), "third": prose(3)}
    return run_data_stages(
        workspace, {"a": build_texts(workspace, new, task="a", place="later")}, before, refresh="second"
    )


def test_what_a_new_version_says_anew_is_marked(
    workspace: Workspace, renewed: Data, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", logger="steps")
    made = mixed(workspace, renewed, {"new/a": 500, "replay/a": 150}, {}, mark_changes=True)
    sources, found = read(workspace, made)
    assert found.changed is not None
    decode = load_tokenizer(workspace, build_model(workspace)).decode
    assert decode(found.input_ids[sources == 0][found.changed[sources == 0]]) == "zebra"
    assert not found.changed[sources == 1].any()
    assert facts_of(workspace, made)["changes"] == {"with_older": 1, "without": 1}
    assert "marked what changed in 1 new documents; of 1 the buffer holds no older version" in caplog.text


def test_without_the_switch_nothing_is_marked_and_the_rest_is_the_same(workspace: Workspace, renewed: Data) -> None:
    _, marked = read(workspace, mixed(workspace, renewed, {"new/a": 500}, {}, mark_changes=True))
    _, plain = read(workspace, mixed(workspace, renewed, {"new/a": 500}, {}))
    assert plain.changed is None
    assert (plain.input_ids == marked.input_ids).all()
    assert (plain.loss_mask == marked.loss_mask).all()
