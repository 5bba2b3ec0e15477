import sys

import numpy as np
import pytest

from steps.core.lab import Lab
from steps.methods.select.transport import Transport
from tests.builders import prose
from tests.steps.methods.select.pools import pool
from tests.tiny_models import parent_model, tiny_workspace

NORTH, EAST, WEST = np.array([0.0, 1.0]), np.array([1.0, 0.0]), np.array([-1.0, 0.0])


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    workspace = tiny_workspace(tmp_path_factory.mktemp("transport"))
    return Lab(workspace, parent_model(workspace), max_tokens=48)


def gradients(base: np.ndarray, target: np.ndarray, own: np.ndarray, regularisation: float = 0.1) -> np.ndarray:
    return Transport(keep_share=1, regularisation=regularisation).gradients(base, target, own)[0]


def test_with_one_target_it_is_the_distance_to_it_less_that_of_the_base() -> None:
    base, target, own = np.stack([EAST, WEST]), NORTH[None], np.stack([NORTH, EAST, -NORTH])
    assert gradients(base, target, own) == pytest.approx([0 - 2, 2 - 2, 4 - 2], abs=1e-6)


def test_what_the_base_has_already_counts_less_than_what_it_lacks() -> None:
    """The target lies half east, half north; the base is east. North is wanted, though both are equally near."""
    base, target = np.stack([EAST] * 4), np.stack([EAST, EAST, NORTH, NORTH])
    east, north, west = gradients(base, target, np.stack([EAST, NORTH, WEST]))
    assert north < -0.5
    assert north < east < west
    assert east == pytest.approx(0, abs=1e-6)  # more of the base moves nothing


def test_it_is_the_slope_of_the_entropic_distance() -> None:
    rng = np.random.default_rng(0)
    base, target, own = (rng.normal(size=(number, 3)) for number in (5, 4, 1))
    points = np.concatenate([base, own])
    cost = ((points[:, None] - target[None]) ** 2).sum(axis=2)
    strength = 0.5 * float(cost[:5].mean())

    def distance(moved: float) -> float:
        from ot.bregman import sinkhorn_log

        masses = np.append(np.full(5, (1 - moved) / 5), moved)
        keep = masses > 0
        plan = sinkhorn_log(masses[keep], np.full(4, 0.25), cost[keep], strength, 5000, stopThr=1e-13)
        product = np.outer(masses[keep], np.full(4, 0.25))
        return float((plan * cost[keep]).sum() + strength * (plan * np.log(plan / product)).sum())

    slope = (distance(2e-5) - distance(0)) / 2e-5
    assert gradients(base, target, own, regularisation=0.5)[0] == pytest.approx(slope, abs=1e-3)


def test_strongly_regularised_it_is_the_distance_from_the_target_as_a_whole() -> None:
    rng = np.random.default_rng(1)
    base, target, own = (rng.normal(size=(number, 3)) for number in (6, 5, 4))

    def away(points: np.ndarray) -> np.ndarray:
        return np.asarray(((points[:, None] - target[None]) ** 2).sum(axis=2).mean(axis=1))

    found = gradients(base, target, own, regularisation=1e6)
    assert found == pytest.approx(away(own) - away(base).mean(), abs=1e-4)


def test_texts_like_the_part_of_the_target_that_the_base_lacks_are_kept(lab: Lab) -> None:
    digits = [f"{k * 7919 % 100_000:05d} " * 8 for k in range(1, 30)]
    texts = {prose(k, 8): 10 for k in range(8)} | dict.fromkeys(digits[:4], 10)
    general, target = [prose(50 + k, 8) for k in range(12)], [*digits[10:16], *(prose(80 + k, 8) for k in range(2))]
    many = pool(texts, target=target, general=general, lab=lab)
    choice = Transport(keep_tokens=40).choose(many, seed=0)
    assert choice.kept == (8, 9, 10, 11)
    assert "base: 12 texts, target: 8; potentials converged" in choice.told
    assert Transport(keep_tokens=40, base="candidates").choose(many, seed=0).kept == (8, 9, 10, 11)


def test_a_whole_share_is_everything(lab: Lab) -> None:
    many = pool({prose(k, 8): 10 for k in range(4)}, target=["a b"], general=["c d"], lab=lab)
    assert Transport(keep_share=1).choose(many, seed=0).kept == (0, 1, 2, 3)


def test_what_lies_in_one_place_is_ranked_by_chance() -> None:
    found, told = Transport(keep_share=1).gradients(np.stack([EAST, EAST]), EAST[None], np.stack([EAST, NORTH]))
    assert found.tolist() == [0, 0]
    assert told == "all of them lie in one place"


def test_chance_comes_from_the_seed(lab: Lab) -> None:
    few = Transport(keep_share=0.5, base_documents=3, target_documents=2)
    texts, others = {prose(k, 8): 10 for k in range(6)}, [prose(20 + k, 8) for k in range(9)]
    runs = [few.choose(pool(texts, target=others, general=others, lab=lab), seed) for seed in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0].scores != runs[2].scores


def test_potentials_that_have_not_converged_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("steps.methods.select.transport.MAX_ROUNDS", 1)
    rng = np.random.default_rng(2)
    told = Transport(keep_share=1).gradients(rng.normal(size=(6, 3)), rng.normal(size=(5, 3)), EAST[None, [0, 1, 1]])[1]
    assert told.startswith("potentials not converged: masses off by")


@pytest.mark.parametrize(
    ("target", "general", "match"),
    [
        ([], ["c"], "wanted validation items of topics as its target, found none; raise split"),
        (["a"], [], "wanted general text as its base, found none; land a replay-only task"),
    ],
)
def test_without_texts_to_compare_it_is_refused(target: list[str], general: list[str], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        Transport(keep_share=0.5).choose(pool({"a": 1}, target=target, general=general), seed=0)


def test_without_the_library_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ot.bregman", None)
    with pytest.raises(ValueError, match=r"pip install 'perennial\[transport\]'"):
        gradients(EAST[None], NORTH[None], WEST[None])


@pytest.mark.parametrize("knobs", [{"regularisation": 0}, {"base_documents": 0}, {"base": "web"}])
def test_bad_knobs_are_refused(knobs: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="Input should be"):
        Transport.model_validate({"keep_share": 0.5, **knobs})
