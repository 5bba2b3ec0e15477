import math
from pathlib import Path

import pytest
import torch

from steps.core.examinee import Examinee
from tests.chat import DATED, REFUSES
from tests.steps.methods.suite.examinees import chat_model
from tests.tiny_models import tiny_model


@pytest.fixture(scope="module")
def examinee(tmp_path_factory: pytest.TempPathFactory) -> Examinee:
    return Examinee(chat_model(tmp_path_factory.mktemp("asked") / "model"))


def test_answers_do_not_depend_on_what_stands_beside(examinee: Examinee) -> None:
    prompts = [examinee.prompt(text, chat=True) for text in ("Hello", "A much longer question, is it not?", "Why?")]
    together = examinee.answers(prompts, 6)
    assert together == [examinee.answers([prompt], 6)[0] for prompt in prompts]


def test_an_answer_is_the_greedy_one(examinee: Examinee) -> None:
    ids = examinee.prompt("Hello", chat=False)
    row = list(ids)
    for _ in range(5):
        with torch.inference_mode():
            row.append(int(examinee.network(torch.tensor([row])).logits[0, -1].argmax()))
    expected = row[len(ids) :]
    expected = expected[: expected.index(1)] if 1 in expected else expected  # 1 ends a text
    assert examinee.answers([ids], 5) == [examinee.tokenizer.decode(expected, skip_special_tokens=True).strip()]


def test_the_loss_of_an_answer_is_that_of_its_tokens_after_the_prompt(examinee: Examinee) -> None:
    pairs = [(examinee.prompt("2 + 2 =", chat=False), " 4"), (examinee.prompt("Name a sea.", chat=True), "The Red Sea")]
    found = examinee.losses(pairs)
    for (prompt, answer), nats in zip(pairs, found, strict=True):
        ids = examinee.tokenizer(answer, add_special_tokens=False)["input_ids"]
        with torch.inference_mode():
            logits = examinee.network(torch.tensor([[*prompt, *ids]])).logits[0].log_softmax(-1)
        expected = -sum(float(logits[len(prompt) - 1 + place, token]) for place, token in enumerate(ids))
        assert nats == pytest.approx(expected, abs=1e-4)


def test_a_template_that_writes_the_day_gets_a_fixed_one(tmp_path: Path) -> None:
    folder = chat_model(tmp_path / "dated")
    (folder / "chat_template.jinja").write_text(DATED, encoding="utf-8")
    dated = Examinee(folder)
    assert dated.tokenizer.decode(dated.prompt("Hi", chat=True)).startswith("Today: 01 January 2000")


def test_a_template_that_refuses_a_system_text_is_named(tmp_path: Path) -> None:
    folder = chat_model(tmp_path / "strict")
    (folder / "chat_template.jinja").write_text(REFUSES, encoding="utf-8")
    with pytest.raises(ValueError, match="its chat template refuses the turns of a question"):
        Examinee(folder).prompt("Hi", chat=True, system="Be kind.")


def test_a_question_longer_than_the_model_reads_is_refused(examinee: Examinee) -> None:
    with pytest.raises(ValueError, match="the model reads 512"):
        examinee.answers([examinee.prompt("x" * 510, chat=False)], 8)


def test_an_answer_without_a_token_is_refused(examinee: Examinee) -> None:
    with pytest.raises(ValueError, match="at least one token"):
        examinee.losses([([5], "")])


def test_a_broken_model_is_a_bad_one_and_no_error(tmp_path: Path) -> None:
    broken = Examinee(tiny_model(tmp_path / "broken"))
    with torch.no_grad():
        broken.network.model.norm.weight.fill_(math.nan)
    assert broken.losses([([5, 6], "ab")]) == [200.0]
    assert len(broken.answers([[5, 6]], 4)) == 1


def test_whether_it_is_a_chat_model_is_seen_without_loading_it(tmp_path: Path) -> None:
    folder = chat_model(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    assert Examinee(folder).is_chat
    assert not Examinee(tmp_path).is_chat
