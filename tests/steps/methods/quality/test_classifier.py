from pathlib import Path

import numpy as np
import pytest

from steps.core.texts import Texts
from steps.methods.quality.classifier import Classifier
from tests.builders import prose
from tests.steps.methods.quality.learning import around

GOOD = [prose(number) for number in range(400)]
BAD = [prose(number).replace("bel", "spam") + " buy now" for number in range(1000, 1300)]
MORE = [prose(number) for number in range(2000, 2100)]
SMALL = Classifier(bits=14, min_documents=50, quantile=0.5)


def test_what_differs_from_trusted_text_is_dropped_and_what_resembles_it_stays(tmp_path: Path) -> None:
    figures = SMALL.learn(around(tmp_path, BAD + MORE, {"buffer": GOOD}))
    judged = SMALL.judge(Texts(BAD + MORE), tmp_path)
    dropped = np.array([judgement.reason == "classifier" for judgement in judged])
    assert dropped.sum() == 200  # half of the sample
    assert not dropped[300:].any()
    assert all(judgement.limit == figures["limit"] for judgement in judged)


def test_the_quality_that_it_states_is_that_of_texts_it_has_not_seen(tmp_path: Path) -> None:
    apart = SMALL.learn(around(tmp_path / "a", BAD, {"buffer": GOOD}))
    alike = SMALL.learn(around(tmp_path / "b", [prose(number) for number in range(3000, 3300)], {"buffer": GOOD}))
    assert apart["auc"] > 0.99
    assert apart["accuracy"] > 0.95
    assert 0.4 < alike["auc"] < 0.6  # the same kind of text on both sides: nothing to tell them by
    assert apart["auc_worst_fold"] <= apart["auc"]
    assert (apart["trusted_documents"], apart["sample_documents"]) == (400, 300)


def test_text_on_both_sides_is_not_learned_by_heart(tmp_path: Path) -> None:
    sample = [prose(number) for number in range(3000, 3300)]
    SMALL.learn(around(tmp_path, sample, {"buffer": GOOD}))
    of_sample = np.array([judgement.found for judgement in SMALL.judge(Texts(sample), tmp_path)])
    of_new = np.array([judgement.found for judgement in SMALL.judge(Texts(MORE), tmp_path)])
    assert abs(np.median(of_sample) - np.median(of_new)) < 0.1


def test_nothing_is_dropped_at_quantile_zero(tmp_path: Path) -> None:
    rule = Classifier(bits=14, min_documents=50, quantile=0)
    rule.learn(around(tmp_path, BAD, {"buffer": GOOD}))
    assert not any(judgement.reason for judgement in rule.judge(Texts(BAD), tmp_path))


def test_a_text_is_judged_alike_in_any_batch_and_the_same_seed_learns_the_same(tmp_path: Path) -> None:
    for name in "ab":
        SMALL.learn(around(tmp_path / name, BAD, {"buffer": GOOD}))
    together = SMALL.judge(Texts(MORE), tmp_path / "a")
    assert [SMALL.judge(Texts([text]), tmp_path / "b")[0] for text in MORE] == together


def test_too_little_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 200 trusted documents in wiki, found 3; name tasks in `trusted`"):
        Classifier(trusted=("wiki",)).learn(around(tmp_path, BAD, {"wiki": GOOD[:3]}))
    with pytest.raises(ValueError, match="at least 200 documents of the task to judge, found 10"):
        Classifier().learn(around(tmp_path, BAD[:10], {"buffer": GOOD}))


def test_documents_that_are_all_the_same_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="too alike"):
        SMALL.learn(around(tmp_path, BAD, {"buffer": ["one text"] * 100}))


def test_an_empty_text_has_a_score(tmp_path: Path) -> None:
    SMALL.learn(around(tmp_path, BAD, {"buffer": GOOD}))
    assert 0 < (SMALL.judge(Texts([""]), tmp_path)[0].found or 0) < 1


def test_what_it_learned_is_no_pickle(tmp_path: Path) -> None:
    SMALL.learn(around(tmp_path, BAD, {"buffer": GOOD}))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["rule.json", "weights.npy"]
    assert np.load(tmp_path / "weights.npy", allow_pickle=False).shape == (5, 2**14 + 1)
