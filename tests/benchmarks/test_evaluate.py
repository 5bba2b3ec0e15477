"""Both scorers are asked the same, and their paces and values are compared round by round."""

from pathlib import Path

import pytest

from benchmarks import evaluate
from steps.core.likelihood import encode, first_context, summed_losses
from steps.core.models import load_model, load_tokenizer
from tests.tiny_models import tiny_model


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny", seed=3)


def test_questions_share_a_prompt_where_there_are_no_corpora(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERENNIAL_CORPORA", str(tmp_path))
    items = evaluate.questions(3)
    assert len(items) == 3 * evaluate.CHOICES
    assert len({item.prompt for item in items}) == 3
    assert len({item.name for item in items}) == 12
    assert items[0].answer.split() == evaluate.plain(1)[0].answer.split()[-6:], "the first choice is the passage's own"


def test_ours_scores_an_answer_behind_its_prompt(folder: Path) -> None:
    network, tokenizer = load_model(folder), load_tokenizer(folder)
    items = [evaluate.Item("a", "", "The dog"), evaluate.Item("b", "The", " dog"), evaluate.Item("c", "The", " fox")]
    found = evaluate.ours(network, tokenizer, items, batch=2)
    whole, dog, fox = encode(tokenizer, [("a", "The dog"), ("b", "The dog"), ("c", "The fox")], 60)
    assert found[0] == pytest.approx(summed_losses(network, [whole], first_context(tokenizer))[0], abs=1e-4)
    for value, text in zip(found[1:], (dog, fox), strict=True):
        own = text.model_copy(update={"carries": tuple(place >= 3 for place in range(7))})
        assert value == pytest.approx(summed_losses(network, [own], 0)[0], abs=1e-4)


def test_paces_are_compared_within_a_round_and_values_per_token() -> None:
    rounds = {
        "ours": [evaluate.Round(1.0, [2.0, 3.0]), evaluate.Round(4.0, [2.0, 3.0])],
        "other": [evaluate.Round(2.0, [2.0, 3.5]), evaluate.Round(16.0, [2.0, 3.0])],
    }
    items = [evaluate.Item("a", "", "x"), evaluate.Item("b", "", "y")]
    lines = list(evaluate.table("plain", items, rounds, [1, 5]))
    assert lines[0] == "| plain, 2 | ours | 1.25 | 1.00 | 0.0e+00 |"
    assert lines[1] == "| plain, 2 | other | 0.56 | 0.38 | 1.0e-01 |"


@pytest.mark.slow
def test_the_harness_scores_the_same(folder: Path) -> None:
    pytest.importorskip("lm_eval")
    network, tokenizer = load_model(folder), load_tokenizer(folder)
    items = [*evaluate.plain(6), *evaluate.questions(3)]
    pairs = [evaluate.pair(tokenizer, item)[1] for item in items]
    one, other = (score(network, tokenizer, items, 4) for score in (evaluate.ours, evaluate.theirs))
    assert one == pytest.approx(other, abs=1e-4 * min(map(len, pairs)))
