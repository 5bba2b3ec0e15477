from pathlib import Path

import numpy as np
import pytest

from steps.core.lab import Lab
from steps.methods.select.learnability import Learnability
from steps.methods.select.random import Random
from tests.builders import prose
from tests.steps.methods.select.pools import pool
from tests.tiny_models import parent_model, tiny_workspace


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    workspace = tiny_workspace(tmp_path_factory.mktemp("learnability"))
    return Lab(workspace, parent_model(workspace), max_tokens=48)


def noise_text(seed: int) -> str:
    """Bytes without a pattern: there is nothing to learn in them."""
    return "".join(map(chr, np.random.default_rng(seed).integers(33, 126, 60)))


def test_what_has_a_pattern_is_more_learnable_than_what_has_none(lab: Lab) -> None:
    texts = {"ab" * 25 + str(k): 10 for k in range(6)} | {noise_text(k): 10 for k in range(6)}
    choice = Learnability(keep_share=0.5, num_steps=12, learning_rate=3e-3).choose(pool(texts, lab=lab), seed=0)
    assert choice.kept == tuple(range(6))
    assert choice.reason == "less learnable"
    assert "nats/token" in choice.told


def test_the_score_is_the_relative_fall_of_the_loss_after_a_run_on_the_others(lab: Lab) -> None:
    """Of two documents each is judged by a run on the other."""
    texts = {prose(1, 10): 10, prose(2, 10): 10}
    one, two = texts
    scores = Learnability(keep_share=1, num_steps=3, learning_rate=1e-3).choose(pool(texts, lab=lab), seed=5).scores
    base = lab.losses([one, two])
    after = [lab.tuned([other], 3, 1e-3, 5).losses([own])[0] for own, other in ((one, two), (two, one))]
    assert scores == pytest.approx((base - after) / base, abs=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_without_a_step_it_is_random(lab: Lab, seed: int) -> None:
    many = pool({prose(k, 8): 10 for k in range(8)}, lab=lab)
    kept = Learnability(keep_share=0.5, num_steps=0).choose(many, seed).kept
    assert kept == Random(keep_share=0.5).choose(many, seed).kept


def test_a_whole_share_is_everything(lab: Lab) -> None:
    many = pool({prose(k, 8): 10 for k in range(4)}, lab=lab)
    assert Learnability(keep_share=1, num_steps=1).choose(many, seed=0).kept == (0, 1, 2, 3)


def test_a_single_document_has_no_others(lab: Lab) -> None:
    choice = Learnability(keep_share=0.5).choose(pool({"alone": 10}, lab=lab), seed=0)
    assert (choice.kept, choice.scores) == ((0,), (0.0,))


def test_a_text_without_a_token_has_nothing_to_learn(lab: Lab) -> None:
    texts = {"": 0, prose(1, 8): 10, prose(2, 8): 10, prose(3, 8): 10}
    choice = Learnability(keep_share=0.5, num_steps=1).choose(pool(texts, lab=lab), seed=0)
    assert choice.scores[0] == 0


def test_chance_comes_from_the_seed(lab: Lab) -> None:
    texts = {prose(k, 8): 10 for k in range(6)}
    runs = [Learnability(keep_share=0.5, num_steps=2).choose(pool(texts, lab=lab), seed) for seed in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0].scores != runs[2].scores


@pytest.mark.parametrize("knobs", [{"num_steps": -1}, {"learning_rate": 0}, {"part_documents": 0}])
def test_a_run_that_makes_no_sense_is_refused(knobs: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="Input should be greater"):
        Learnability.model_validate({"keep_share": 0.5, **knobs})


def test_the_model_is_found_in_the_workspace(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path)
    gone = parent_model(workspace).model_copy(update={"path": "nowhere"})
    with pytest.raises(ValueError, match="nowhere"):
        Learnability(keep_share=0.5).choose(pool({"a": 1, "b": 1}, lab=Lab(workspace, gone)), seed=0)
