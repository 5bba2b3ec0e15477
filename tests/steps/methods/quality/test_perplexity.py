import json
import math
from pathlib import Path

import numpy as np
import pytest
from pydantic import ValidationError

from steps.core.texts import Texts
from steps.methods.quality import FIT
from steps.methods.quality.perplexity import Perplexity
from tests.builders import prose
from tests.steps.methods.quality.learning import around
from tests.tiny_models import tiny_model

TRUSTED = [prose(number, 200) for number in range(200)]
GIBBERISH = "xqzv" * 50


def test_gibberish_is_dropped_and_text_like_the_trusted_stays(tmp_path: Path) -> None:
    rule = Perplexity(max_perplexity=20)
    figures = rule.learn(around(tmp_path, trusted={"buffer": TRUSTED}))
    assert figures["trusted_documents"] == 200
    good, bad, empty = rule.judge(Texts([prose(999), GIBBERISH, ""]), tmp_path)
    assert (good.reason, bad.reason, empty) == ("", "perplexity", FIT)
    assert (good.found or 0) < 3 < 20 < (bad.found or 0)
    assert bad.limit == 20


def test_trusted_text_comes_from_the_tasks_named(tmp_path: Path) -> None:
    rule = Perplexity(max_perplexity=20, trusted=("wiki", "books"))
    figures = rule.learn(around(tmp_path, trusted={"wiki": TRUSTED[:100], "books": TRUSTED[100:]}))
    assert figures["trusted_documents"] == 200


def test_a_quantile_of_the_sample_stays(tmp_path: Path) -> None:
    sample = [prose(number) for number in range(300, 380)] + [GIBBERISH + prose(number, 5) for number in range(20)]
    rule = Perplexity(quantile=0.8)
    figures = rule.learn(around(tmp_path, sample, {"buffer": TRUSTED}))
    reasons = [judgement.reason for judgement in rule.judge(Texts(sample), tmp_path)]
    assert reasons == [""] * 80 + ["perplexity"] * 20
    assert figures["sample_documents"] == 100
    assert figures["sample_median"] < figures["limit"]


def test_too_little_trusted_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least 100,000 bytes of trusted text, found 0 in the replay buffer"):
        Perplexity(quantile=0.5).learn(around(tmp_path))


def test_a_sample_without_text_has_no_quantile(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found none with text"):
        Perplexity(quantile=0.5).learn(around(tmp_path, ["", ""], {"buffer": TRUSTED}))


def test_exactly_one_limit_is_wanted() -> None:
    with pytest.raises(ValidationError, match="either max_perplexity or quantile"):
        Perplexity()
    with pytest.raises(ValidationError, match="either max_perplexity or quantile"):
        Perplexity(max_perplexity=5, quantile=0.5)


def test_the_parent_finds_an_untrained_text_as_likely_as_any_byte(tmp_path: Path) -> None:
    parent = tiny_model(tmp_path / "models" / "parent")
    rule = Perplexity(under="model", max_perplexity=400)
    figures = rule.learn(around(tmp_path / "learned", model=parent))
    assert figures == {"limit": 400}
    assert json.loads((tmp_path / "learned" / "rule.json").read_text())["model"] == "../models/parent"
    judged = rule.judge(Texts([prose(1), "", "a"]), tmp_path / "learned")
    assert judged[1] == FIT
    assert judged[0].found == pytest.approx(260, rel=0.2)  # a random model with 260 tokens
    assert judged[0].reason == ""


def test_what_stands_beside_a_text_changes_nothing_under_the_parent(tmp_path: Path) -> None:
    texts = [prose(number, 5 + number) for number in range(6)]
    rule = Perplexity(under="model", quantile=0.5, max_tokens=64)
    rule.learn(around(tmp_path / "learned", texts, model=tiny_model(tmp_path / "parent")))
    together = rule.judge(Texts(texts), tmp_path / "learned")
    assert [rule.judge(Texts([text]), tmp_path / "learned")[0] for text in texts] == together
    assert sum(bool(judgement.reason) for judgement in together) == 3


def test_the_parent_reads_only_the_first_tokens(tmp_path: Path) -> None:
    rule = Perplexity(under="model", max_perplexity=400, max_tokens=10)
    rule.learn(around(tmp_path / "learned", model=tiny_model(tmp_path / "parent")))
    short, long = rule.judge(Texts(["ten letter", "ten letters and more"]), tmp_path / "learned")
    assert short.found == long.found


def test_a_model_in_the_same_folder_that_changed_is_loaded_again(tmp_path: Path) -> None:
    rule = Perplexity(under="model", max_perplexity=400)
    rule.learn(around(tmp_path / "learned", model=tiny_model(tmp_path / "parent", seed=1)))
    before = rule.judge(Texts([prose(1)]), tmp_path / "learned")[0].found
    tiny_model(tmp_path / "parent", seed=2)
    assert rule.judge(Texts([prose(1)]), tmp_path / "learned")[0].found != before


def test_what_it_learned_travels_without_pickle(tmp_path: Path) -> None:
    rule = Perplexity(max_perplexity=20)
    rule.learn(around(tmp_path / "here", trusted={"buffer": TRUSTED}))
    (tmp_path / "here").rename(tmp_path / "there")
    assert sorted(path.name for path in (tmp_path / "there").iterdir()) == ["keys.npy", "logs.npy", "rule.json"]
    assert np.load(tmp_path / "there" / "keys.npy", allow_pickle=False).dtype == np.uint64
    found = rule.judge(Texts([prose(999)]), tmp_path / "there")[0].found
    assert math.isfinite(found or math.nan)
