from typing import Any

import numpy as np
import pytest
from transformers import PreTrainedTokenizerFast

from steps.core.documents import Document, Message, joined
from steps.core.rows import How, Row, Writer, count_losses
from tests.builders import build_document
from tests.chat import CHATML, DATED, REFUSES, SAYS_ITSELF, SHORTENS, TODAY, chat_tokenizer


def labelled(*turns: tuple[str, str], key: str = "row", **facts: Any) -> Document:
    messages = tuple(Message(role=role, content=content) for role, content in turns)
    return build_document(key, joined(messages)).model_copy(update={"messages": messages, **facts})


WHY = labelled(("prompt", "Why?"), ("completion", "So."))
TALK = labelled(("user", "Hi"), ("assistant", "Ho"), ("user", "And?"), ("assistant", "Yes"))


def written(tokenizer: PreTrainedTokenizerFast, document: Document, how: How = "auto", **knobs: Any) -> Row:
    end = int(tokenizer.eos_token_id)
    (row,) = Writer(tokenizer, end, how, **knobs).rows([document])
    assert row is not None
    return row


def shown(tokenizer: PreTrainedTokenizerFast, row: Row) -> tuple[str, list[str]]:
    """A row as text, and each run of tokens that carries loss."""
    assert row.carries is not None
    assert len(row.carries) == len(row.tokens)
    edges = np.flatnonzero(np.diff(row.carries, prepend=False, append=False))
    runs = [tokenizer.decode(row.tokens[start:stop]) for start, stop in edges.reshape(-1, 2)]
    return tokenizer.decode(row.tokens), runs


def test_plain_text_is_its_tokens_and_the_separator() -> None:
    tokenizer = chat_tokenizer(CHATML)
    row = written(tokenizer, build_document("page", "A <|to|> page"))
    assert row.tokens.tolist() == [*tokenizer.encode("A <|to|> page", split_special_tokens=True), 257]
    assert row.carries is None
    assert row.changed is None


def test_without_a_template_prompt_completion_and_end_stand_one_after_the_other() -> None:
    tokenizer = chat_tokenizer()
    assert shown(tokenizer, written(tokenizer, WHY)) == ("Why?\n\nSo.<|end|>", ["\n\nSo.<|end|>"])
    spaced = labelled(("prompt", "2 + 2 ="), ("completion", " 4"))
    assert shown(tokenizer, written(tokenizer, spaced)) == ("2 + 2 = 4<|end|>", [" 4<|end|>"])


def test_without_a_template_every_answer_of_a_talk_is_ended() -> None:
    tokenizer = chat_tokenizer()
    whole = "Hi\n\nHo<|end|>\n\nAnd?\n\nYes<|end|>"
    assert shown(tokenizer, written(tokenizer, TALK)) == (whole, ["\n\nHo<|end|>", "\n\nYes<|end|>"])


def test_a_template_writes_prompts_as_the_user_s_and_completions_as_the_assistant_s() -> None:
    tokenizer = chat_tokenizer(CHATML)
    whole = "<|from|>user\nWhy?<|to|>\n<|from|>assistant\nSo.<|to|>\n"
    row = written(tokenizer, WHY)
    assert shown(tokenizer, row) == (whole, ["So.<|to|>\n"])
    assert row.tokens[0] == tokenizer.convert_tokens_to_ids("<|from|>")
    assert shown(tokenizer, written(tokenizer, WHY, "plain"))[0] == "Why?\n\nSo.<|end|>"


def test_of_a_talk_the_assistant_s_turns_carry_loss() -> None:
    tokenizer = chat_tokenizer(CHATML)
    assert shown(tokenizer, written(tokenizer, TALK))[1] == ["Ho<|to|>\n", "Yes<|to|>\n"]


def test_a_template_that_says_what_is_generated_is_believed_and_its_begin_of_text_is_not_doubled() -> None:
    tokenizer = chat_tokenizer(SAYS_ITSELF)
    row = written(tokenizer, TALK)
    whole = "<|begin|>user: Hi\nassistant: Ho<|end|>\nuser: And?\nassistant: Yes<|end|>\n"
    assert shown(tokenizer, row) == (whole, ["Ho<|end|>", "Yes<|end|>"])
    assert row.tokens.tolist().count(tokenizer.bos_token_id) == 1


@pytest.mark.parametrize("document", [WHY, TALK])
def test_both_ways_to_find_the_assistant_agree(document: Document) -> None:
    told = CHATML.replace("{{ message['content'] }}<|to|>\n", "{% if message['role'] == 'assistant' %}{% generation %}"
                          "{{ message['content'] }}<|to|>\n{% endgeneration %}{% else %}{{ message['content'] }}<|to|>"
                          "\n{% endif %}")  # fmt: skip
    found, said = (written(chat_tokenizer(template), document) for template in (CHATML, told))
    assert found.tokens.tolist() == said.tokens.tolist()
    assert found.carries is not None
    assert said.carries is not None
    assert found.carries.tolist() == said.carries.tolist()


def test_a_turn_that_the_template_writes_differently_once_another_follows_carries_no_loss() -> None:
    tokenizer = chat_tokenizer(SHORTENS)
    writer = Writer(tokenizer, 257)
    (row,) = writer.rows([TALK])
    assert row is not None
    assert shown(tokenizer, row) == ("user: Hi\nassistant: ...\nuser: And?\nassistant: Yes\n", ["Yes\n"])
    assert writer.told == {"turn-not-found": 1}


def test_tokens_never_reach_over_the_border_of_a_completion() -> None:
    tokenizer = chat_tokenizer(merges=[("=", "4")])
    assert len(tokenizer.encode("2=4")) == 2
    row = written(tokenizer, labelled(("prompt", "2= "), ("completion", "4=4")))
    assert shown(tokenizer, row) == ("2= 4=4<|end|>", ["4=4<|end|>"])
    assert len(row.tokens) == 6
    template = "{{ messages[0]['content'] }}={% if messages[1] %}{{ messages[1]['content'] }}{% endif %}"
    glued = chat_tokenizer(template, merges=[("=", "4")])
    row = written(glued, labelled(("prompt", "2"), ("completion", "4")))
    assert shown(glued, row) == ("2=4", ["4"])
    assert len(row.tokens) == 3


def test_what_spells_a_control_token_or_has_no_answer_is_left_out_and_counted() -> None:
    writer = Writer(chat_tokenizer(CHATML), 257)
    rows = writer.rows([labelled(("user", "Say <|to|>"), ("assistant", "No")), WHY, labelled(("user", "Hm"))])
    assert [row is None for row in rows] == [True, False, True]
    assert writer.told == {"control-token": 1, "no-completion": 1}


def test_without_a_template_a_control_token_is_text() -> None:
    tokenizer = chat_tokenizer()
    row = written(tokenizer, labelled(("prompt", "Say <|end|>"), ("completion", "No")))
    assert row.tokens.tolist().count(257) == 1


@pytest.mark.parametrize(
    ("time", "day"),
    [
        ("2024-02-03T10:00:00Z", "03 February 2024"),
        ("2024-02", "01 February 2024"),
        ("lately", "01 January 2000"),
    ],
)
def test_a_template_that_writes_the_day_writes_the_document_s(time: str, day: str) -> None:
    tokenizer = chat_tokenizer(DATED)
    text, _ = shown(tokenizer, written(tokenizer, WHY.model_copy(update={"time": time})))
    assert text.startswith(f"Today: {day}\n")


def test_a_template_that_would_write_the_day_of_the_run_is_refused() -> None:
    with pytest.raises(ValueError, match=r"mix\.labelled: .* writes the day of the run"):
        Writer(chat_tokenizer(TODAY), 257)


def test_turns_that_the_template_refuses_are_an_error_that_names_them() -> None:
    writer = Writer(chat_tokenizer(REFUSES), 257)
    with pytest.raises(ValueError, match=r"topics, row: .* refuses the turns: no system turn; leave the document out"):
        writer.rows([labelled(("system", "Be brief."), ("user", "Hi"), ("assistant", "Ho"))])


def test_a_template_that_is_not_there_is_refused() -> None:
    with pytest.raises(ValueError, match=r"mix\.labelled: chat wants a chat template"):
        Writer(chat_tokenizer(), 257, "chat")


def test_only_the_tokens_of_completions_are_counted() -> None:
    documents = [WHY, build_document("page", "A page"), TALK, labelled(("user", "Hm"))]
    assert count_losses(chat_tokenizer(CHATML), documents) == [3, 6, 5, 0]


def test_what_an_older_version_did_not_say_is_marked() -> None:
    tokenizer = chat_tokenizer(CHATML)
    older = {"page": build_document("page", "The limit is 16."), "row": WHY, "same": build_document("same", "One.")}
    writer = Writer(tokenizer, 257, older=older)
    new = labelled(("prompt", "Why?"), ("completion", "So it is."))
    texts = {"page": "The  limit is 32.", "same": "One.", "new": "Two."}
    documents = [*(build_document(key, text) for key, text in texts.items()), new]
    rows = writer.rows(documents)
    marked = []
    for row in rows:
        assert row is not None
        assert row.changed is not None
        marked.append(tokenizer.decode(row.tokens[row.changed]))
    assert marked == ["32", "", "", "itis"]


def test_marks_need_a_tokenizer_that_says_where_its_tokens_stand() -> None:
    class Slow:
        is_fast = False
        chat_template = None

    with pytest.raises(ValueError, match=r"mix\.mark_changes: .* found Slow"):
        Writer(Slow(), 257, older={})  # type: ignore[arg-type]
