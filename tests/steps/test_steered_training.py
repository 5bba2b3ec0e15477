"""Plan, mix and train together, where the mixture looks again while training runs."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from steps.core.artifacts import MixturePlan, Trained, TrainingSet, Validation
from steps.core.shards import digest_of, write_lines
from steps.core.workspace import Workspace
from steps.methods.mixture.skill_graph import SkillGraph
from steps.mix import MixConfig, mix
from steps.train import TrainConfig, train
from tests.builders import Data, at_stage, build_texts, prose, run_data_stages
from tests.tiny_models import STATE, Told, parent_model, rows_of, tiny_workspace

GRAPH = {"new/a": {"a": 1.0, "b": 0.6}, "new/b": {"a": 0.0, "b": 1.0}}
TOKENS = {"new/a": 1300, "new/b": 1300, "replay/general": 1130}
SOURCES = sorted(TOKENS)
SPOKEN = {"a": prose(900), "b": prose(901).upper()}  # validation items


class Killed(Exception):
    """Stands for the death of the process after a step."""


def data_of(workspace: Workspace) -> Data:
    texts = {
        "a": build_texts(workspace, {f"a{n}": prose(n) for n in range(9)}, task="a"),
        "b": build_texts(workspace, {f"b{n}": prose(100 + n).upper() for n in range(9)}, task="b"),
        "general": build_texts(
            workspace, {f"g{n}": prose(200 + n) for n in range(9)}, task="general", role="replay-only"
        ),
    }
    return run_data_stages(workspace, texts)


def mixed(workspace: Workspace, document_mask: bool = False, update_steps: int = 4) -> TrainingSet:
    data = data_of(workspace)
    prior = {"new/a": 1.0, "new/b": 1.0}
    mixture = SkillGraph(graph=GRAPH, prior=prior, eta=0.4, window=1, update_steps=update_steps)
    shares = MixturePlan(
        digest=digest_of(TOKENS),
        tokens=TOKENS,
        replay_share=0.3,
        steered=mixture.model_dump(mode="json"),
        at_hand=dict.fromkeys(TOKENS, 9000),
    )
    config = MixConfig(block_tokens=32, blocks_per_step=12, document_mask=document_mask)
    return mix(at_stage(workspace, "mix"), config, data.chosen, data.buffer, parent_model(workspace), shares)


def items(workspace: Workspace) -> Validation:
    for task, text in SPOKEN.items():
        row = {"id": task, "task": task, "document": task, "text": text}
        write_lines(workspace.root / "data" / "held" / task / "validation.jsonl", [row])
    return Validation(digest="items", path="data/held", num_items={"a": 1, "b": 1})


def run(
    root: Path, *, die_at: int | None = None, told: Told | None = None, mask: bool = False, **knobs: Any
) -> Trained:
    def progress(done: int, total: int, what: str) -> None:
        if done == die_at:
            raise Killed

    here = tiny_workspace(root, told=told)
    made = mixed(here, mask)
    given = {"params": "full", "schedule": "constant", "learning_rate": 5e-3, "checkpoint_steps": 3}
    config = TrainConfig.model_validate(given | knobs)
    working = Workspace(root, here.path, here.seed, report=here.report, progress=progress)
    return train(working, config, parent_model(here), STATE, made, items(here))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Trained]:
    root = tmp_path_factory.mktemp("whole")
    return root, run(root)


def shares_of(row: dict[str, float], kind: str) -> dict[str, float]:
    return {source: row[f"train/{kind}_{source}"] for source in SOURCES}


def test_shares_follow_the_losses_and_replay_keeps_its_share(whole: tuple[Path, Trained]) -> None:
    root, trained = whole
    rows = rows_of(root / trained.history)
    assert [row["step"] for row in rows if "train/share_new/a" in row] == [0, 4, 8]
    assert shares_of(rows[0], "share") == {source: n / 3730 for source, n in TOKENS.items()}
    method = SkillGraph(graph=GRAPH, prior={"new/a": 1.0, "new/b": 1.0}, eta=0.4, window=1)
    losses = [{task: row[f"train/validation_{task}"] for task in SPOKEN} for row in (rows[0], rows[4], rows[8])]
    for count, row in ((2, rows[4]), (3, rows[8])):
        wanted = method.steer(losses[:count], shares_of(rows[0], "share"))
        assert shares_of(row, "share") == pytest.approx(wanted)
        assert row["train/share_new/a"] > rows[0]["train/share_new/a"] + 0.01
        assert row["train/share_replay/general"] == pytest.approx(1130 / 3730)


def test_what_was_drawn_is_within_half_a_point_of_what_was_decided(whole: tuple[Path, Trained]) -> None:
    root, trained = whole
    rows = rows_of(root / trained.history)
    for decided, ended in ((0, 4), (4, 8), (8, trained.num_steps)):
        wanted, found = shares_of(rows[decided], "share"), shares_of(rows[ended], "drawn")
        assert max(abs(wanted[source] - found[source]) for source in SOURCES) < 0.005
    assert sum(trained.achieved.values()) == sum(TOKENS.values())
    assert trained.achieved["new/a"] > TOKENS["new/a"]


@pytest.mark.parametrize("die_at", [2, 4, 7, 9])
def test_a_run_killed_in_the_middle_decides_and_draws_the_same(
    tmp_path: Path, whole: tuple[Path, Trained], die_at: int
) -> None:
    root, straight = whole
    told = Told()
    with pytest.raises(Killed):
        run(tmp_path, die_at=die_at, told=told)
    resumed = run(tmp_path, told=told)
    assert resumed == straight
    assert rows_of(tmp_path / resumed.history) == rows_of(root / straight.history)
    one, other = (load_file(place / straight.model.path / "model.safetensors") for place in (root, tmp_path))
    assert all(torch.equal(one[name], other[name]) for name in one)
    shares: dict[int, dict[str, float]] = {}
    for step, row in told.rows:
        if "train/share_new/a" in row:
            assert shares.setdefault(step, shares_of(row, "share")) == shares_of(row, "share")
    assert sorted(shares) == [0, 4, 8]


def test_micro_batches_change_neither_the_decisions_nor_the_draws(tmp_path: Path, whole: tuple[Path, Trained]) -> None:
    root, straight = whole
    found = run(tmp_path, micro_batch_blocks=5)
    for left, right in zip(rows_of(root / straight.history), rows_of(tmp_path / found.history), strict=True):
        assert left == pytest.approx(right, rel=1e-4)
    assert found.achieved == pytest.approx(straight.achieved, abs=1)  # a share of the last digits is a token at most


def test_objectives_know_all_replay_that_may_be_drawn(tmp_path: Path) -> None:
    kept = {"method": "logit-distill", "top_k": 3}  # of a block that it did not know it would say nothing
    found = run(tmp_path, objective=["next-token", "threshold-margin", kept])
    rows = rows_of(tmp_path / found.history)
    assert [row["train/objective_threshold-margin"] > 0 for row in rows[1:4]] == [False, True, True]
    assert all(row["train/objective_logit-distill"] > 0 for row in rows[2:])


def test_documents_apart_are_steered_to_the_token_too(tmp_path: Path) -> None:
    trained = run(tmp_path, mask=True)
    assert sum(trained.achieved.values()) == sum(TOKENS.values())
    last = rows_of(tmp_path / trained.history)[-1]
    assert {source: last[f"train/drawn_{source}"] for source in SOURCES} == pytest.approx(
        {source: rows_of(tmp_path / trained.history)[8][f"train/share_{source}"] for source in SOURCES}, abs=0.005
    )


def test_without_validation_items_there_is_nothing_to_steer_by(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"found none; raise split\.validation_share and train\.validation_items"):
        run(tmp_path, validation_items=0)
