import math
from pathlib import Path

import numpy as np
import pytest
import torch

from steps.core.documents import Item, Message, joined
from steps.core.lab import Lab
from steps.core.models import digest_of_model, load_model
from tests.builders import prose
from tests.tiny_models import parent_model, tiny_workspace

TEXTS = [prose(k)[:length] for k, length in enumerate((20, 3, 60, 41, 7, 33))]  # a token is a byte


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lab")


def lab(root: Path, max_tokens: int = 48, batch_texts: int = 4) -> Lab:
    workspace = tiny_workspace(root)
    return Lab(workspace, parent_model(workspace), max_tokens, batch_texts)


def test_a_loss_is_the_mean_over_the_first_tokens(root: Path) -> None:
    asked = lab(root, max_tokens=10)
    (found,) = asked.losses(["the dog walks away"])
    assert found == asked.losses(["the dog wa"])[0]
    network = load_model(root / "parent")
    tokens = asked._tokenizer("the dog wa")["input_ids"]
    context = asked._tokenizer.bos_token_id
    with torch.inference_mode():
        logits_TV = network(torch.tensor([[context, *tokens]])).logits[0].double()
    by_hand = -sum(float(logits_TV[k].log_softmax(-1)[token]) for k, token in enumerate(tokens)) / len(tokens)
    assert found == pytest.approx(by_hand, abs=1e-5)


def test_an_item_s_loss_is_that_of_what_counts_of_it(root: Path) -> None:
    asked = lab(root)
    said = (Message(role="prompt", content="The dog"), Message(role="completion", content="barks"))
    item = Item(id="a", task="t", document="d", text=joined(said), messages=said)
    plain = Item(id="b", task="t", document="e", text="the dog")
    found = asked.item_losses([item, plain])
    assert found[1] == pytest.approx(asked.losses(["the dog"])[0], abs=1e-5)
    whole = asked.losses([item.text])[0] * len(item.text) - asked.losses(["The dog"])[0] * len("The dog")
    assert found[0] == pytest.approx(whole / len("\n\nbarks"), abs=1e-5)


def test_an_embedding_is_the_mean_direction_of_the_last_hidden_states(root: Path) -> None:
    asked = lab(root)
    (found_D,) = asked.embeddings(["the dog"])
    tokens = asked._tokenizer("the dog")["input_ids"]
    with torch.inference_mode():
        output = load_model(root / "parent")(
            torch.tensor([[asked._tokenizer.bos_token_id, *tokens]]), output_hidden_states=True
        )
    mean_D = output.hidden_states[-1][0, 1:].mean(dim=0)
    assert found_D.dtype == np.float32
    assert found_D == pytest.approx((mean_D / mean_D.norm()).numpy(), abs=1e-5)


@pytest.mark.parametrize("batch_texts", [1, 3, 6])
def test_what_stands_beside_a_text_does_not_count(root: Path, batch_texts: int) -> None:
    one, many = lab(root, batch_texts=1), lab(root, batch_texts=batch_texts)
    assert many.losses(TEXTS) == pytest.approx(one.losses(TEXTS), abs=1e-5)
    assert many.losses(TEXTS[::-1])[::-1] == pytest.approx(one.losses(TEXTS), abs=1e-5)
    assert many.embeddings(TEXTS) == pytest.approx(one.embeddings(TEXTS), abs=1e-5)


def test_a_text_without_a_token_costs_nothing_and_lies_nowhere(root: Path) -> None:
    asked = lab(root)
    assert asked.losses(["", "a"])[0] == 0
    assert not asked.embeddings(["", "a"])[0].any()
    assert asked.losses([]).shape == (0,)


def test_a_brief_run_learns_its_texts_and_leaves_the_model_as_it_was(root: Path) -> None:
    asked = lab(root)
    before, digest = asked.losses(TEXTS), digest_of_model(root / "parent")
    after = asked.tuned(TEXTS, num_steps=12, learning_rate=3e-3, seed=1).losses(TEXTS)
    assert after.mean() < before.mean() - 0.2
    assert asked.losses(TEXTS).tolist() == before.tolist()
    assert digest_of_model(root / "parent") == digest


def test_a_run_of_no_steps_changes_nothing(root: Path) -> None:
    asked = lab(root)
    assert asked.tuned(TEXTS, 0, 1e-3, seed=0).losses(TEXTS).tolist() == asked.losses(TEXTS).tolist()


def test_the_first_step_is_that_of_adamw(root: Path) -> None:
    """Its first step moves every weight that has a gradient by the learning rate, against the gradient's sign."""
    asked = lab(root)
    asked.losses(["a"])
    tuned = asked.tuned(["the dog"], 1, 1e-3, seed=0)
    pairs = zip(tuned._network.parameters(), asked._network.parameters(), strict=True)
    with torch.inference_mode():
        moved = [float((new - old).abs().max()) for new, old in pairs]
    assert max(moved) == pytest.approx(1e-3, rel=1e-2)
    assert min(moved) > 0


def test_chance_comes_from_the_seed(root: Path) -> None:
    asked = lab(root, batch_texts=2)
    runs = [asked.tuned(TEXTS, 3, 1e-3, seed).losses(TEXTS).tolist() for seed in (1, 1, 2)]
    assert runs[0] == runs[1]
    assert runs[0] != runs[2]


def test_a_run_on_nothing_is_refused(root: Path) -> None:
    with pytest.raises(ValueError, match="found none with a token among 1"):
        lab(root).tuned([""], 1, 1e-3, seed=0)


def test_nothing_is_loaded_before_the_first_question(root: Path) -> None:
    workspace = tiny_workspace(root)
    gone = parent_model(workspace).model_copy(update={"path": "nowhere"})
    asked = Lab(workspace, gone)
    with pytest.raises(ValueError, match="nowhere"):
        asked.losses(["a"])


def test_a_broken_model_answers_by_the_largest_loss(root: Path) -> None:
    asked = lab(root)
    asked.losses(["a"])
    with torch.no_grad():
        asked._network.get_output_embeddings().weight.fill_(math.nan)
    assert asked.losses(["abc"]).tolist() == [100.0]
