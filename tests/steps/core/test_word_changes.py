import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from steps.core.likelihood import MAX_NATS, encode, first_context
from steps.core.models import load_model, load_tokenizer
from steps.core.word_changes import Apart, Prompt, apart, contrasts, divergence, draw
from tests.tiny_models import TEXT, tiny_model

TEXTS = [("a", TEXT[:40]), ("b", TEXT[3:18]), ("c", "x")]
QUICK: dict[str, Any] = {"num_samples": 2, "num_tokens": 6, "plausible": 0.1, "seed": 20}


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Any, Any]:
    """Two random tiny models of one vocabulary, and their tokenizer; strong layers, so that they differ."""
    folder = tmp_path_factory.mktemp("models")
    found = [load_model(tiny_model(folder / name, seed)) for name, seed in (("a", 0), ("b", 1))]
    with torch.no_grad():
        for model in found:
            for weight in model.model.layers.parameters():
                weight.mul_(8)
    return found[0], found[1], load_tokenizer(folder / "a")


def prompts(tokenizer: Any, *names: str) -> list[Prompt]:
    found = {name: text.tokens for name, text in zip("abc", encode(tokenizer, TEXTS, 8), strict=True)}
    return [Prompt(name=name, task="docs", tokens=found[name]) for name in names]


def test_divergence_is_the_sum_over_the_vocabulary_at_every_token(models: tuple[Any, Any, Any]) -> None:
    ours, theirs, tokenizer = models
    context = first_context(tokenizer)
    found = apart(ours, theirs, encode(tokenizer, TEXTS, 60), context, batch_items=2)
    for each, (name, text) in zip(found, TEXTS, strict=True):
        tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
        ids = torch.tensor([[context, *tokens]])
        with torch.no_grad():
            p, q = (model(ids).logits[0, :-1].double().softmax(-1) for model in (ours, theirs))
        assert (each.name, each.tokens) == (name, len(tokens))
        assert each.nats == pytest.approx(float((p * (p / q).log()).sum()), rel=1e-4)
        assert each.nats > 0.01 * each.tokens


def test_a_model_is_not_apart_from_itself(models: tuple[Any, Any, Any]) -> None:
    ours, _, tokenizer = models
    found = apart(ours, ours, encode(tokenizer, TEXTS, 60), first_context(tokenizer), batch_items=3)
    assert [each.nats for each in found] == pytest.approx([0.0] * 3, abs=1e-5)


def test_the_batch_does_not_change_the_divergence(models: tuple[Any, Any, Any]) -> None:
    ours, theirs, tokenizer = models
    texts, context = encode(tokenizer, TEXTS, 60), first_context(tokenizer)
    wide, single = (apart(ours, theirs, texts, context, number) for number in (3, 1))
    assert [each.nats for each in wide] == pytest.approx([each.nats for each in single], abs=1e-4)


def test_logits_that_are_no_numbers_count_as_far_apart(models: tuple[Any, Any, Any], tmp_path: Path) -> None:
    ours, _, tokenizer = models
    broken = load_model(tiny_model(tmp_path / "broken"))
    with torch.no_grad():
        broken.lm_head.weight.fill_(float("nan"))
    (found,) = apart(ours, broken, encode(tokenizer, TEXTS[:1], 5), first_context(tokenizer), batch_items=1)
    assert found.nats == 5 * MAX_NATS
    assert contrasts(ours, broken, tokenizer, prompts(tokenizer, "a"), first_context(tokenizer), **QUICK) == []


def test_the_mean_is_over_texts_with_its_standard_error() -> None:
    found = divergence([Apart(name="a", nats=2.0, tokens=2), Apart(name="b", nats=12.0, tokens=4)])
    assert (found.nats_per_token, found.num_items, found.num_tokens) == (2.0, 2, 6)
    assert found.error_nats == pytest.approx(math.sqrt(2.0) / math.sqrt(2))
    assert divergence([Apart(name="a", nats=1.0, tokens=2)]).error_nats is None


def test_what_the_candidate_finds_implausible_is_never_drawn_and_the_rest_by_the_ratio() -> None:
    ours, theirs = np.log([0.60, 0.30, 0.05, 0.05]), np.log([0.30, 0.05, 0.001, 0.649])
    rng = np.random.default_rng(0)
    drawn = [draw(ours, theirs, 0.1, rng) for _ in range(4000)]
    assert set(drawn) == {0, 1}, "the third is fifty times likelier than to the parent, but below a tenth of the first"
    assert drawn.count(1) / drawn.count(0) == pytest.approx(6 / 2, rel=0.1)


def test_at_a_threshold_of_one_only_the_likeliest_is_left() -> None:
    ours, theirs = np.log([0.2, 0.5, 0.3]), np.log([0.1, 0.8, 0.1])
    assert {draw(ours, theirs, 1.0, np.random.default_rng(seed)) for seed in range(9)} == {1}


def test_continuations_are_the_same_again_whatever_stands_beside_them(models: tuple[Any, Any, Any]) -> None:
    ours, theirs, tokenizer = models
    context = first_context(tokenizer)
    both = contrasts(ours, theirs, tokenizer, prompts(tokenizer, "a", "b"), context, **QUICK)
    again = contrasts(ours, theirs, tokenizer, prompts(tokenizer, "a", "b"), context, **QUICK)
    alone = contrasts(ours, theirs, tokenizer, prompts(tokenizer, "b"), context, **QUICK)
    assert both == again
    assert {each.text for each in alone} <= {each.text for each in both}
    other = contrasts(ours, theirs, tokenizer, prompts(tokenizer, "a", "b"), context, **{**QUICK, "seed": 21})
    assert other != both


def test_the_gap_is_how_much_likelier_the_candidate_finds_it(models: tuple[Any, Any, Any]) -> None:
    ours, theirs, tokenizer = models
    context = first_context(tokenizer)
    (prompt,) = prompts(tokenizer, "b")
    rng_of_one = {**QUICK, "num_samples": 1, "num_tokens": 1, "plausible": 1.0}
    (found,) = contrasts(ours, theirs, tokenizer, [prompt], context, **rng_of_one)
    with torch.no_grad():
        ids = torch.tensor([[context, *prompt.tokens]])
        p, q = (model(ids).logits[0, -1].double().log_softmax(-1) for model in (ours, theirs))
    assert found.gap_nats == pytest.approx(float((p - q)[p.argmax()]), abs=1e-4)


def test_the_widest_gap_comes_first_and_nothing_twice(models: tuple[Any, Any, Any]) -> None:
    ours, theirs, tokenizer = models
    many = contrasts(
        ours,
        theirs,
        tokenizer,
        prompts(tokenizer, "a", "b"),
        first_context(tokenizer),
        **{**QUICK, "num_samples": 6, "num_tokens": 1},
    )
    gaps = [each.gap_nats for each in many]
    assert gaps == sorted(gaps, reverse=True)
    assert len({each.text for each in many}) == len(many) < 12
    assert all(" → " in each.text and each.task == "docs" for each in many)


def test_no_prompts_give_no_texts(models: tuple[Any, Any, Any]) -> None:
    ours, theirs, tokenizer = models
    assert contrasts(ours, theirs, tokenizer, [], first_context(tokenizer), **QUICK) == []


def test_another_vocabulary_is_refused(models: tuple[Any, Any, Any], tmp_path: Path) -> None:
    ours, _, tokenizer = models
    wider = load_model(tiny_model(tmp_path / "wider"))
    wider.resize_token_embeddings(300, mean_resizing=False)
    with pytest.raises(ValueError, match=r"wanted one vocabulary, found .* and 300 tokens"):
        apart(ours, wider, encode(tokenizer, TEXTS, 8), first_context(tokenizer), batch_items=3)
