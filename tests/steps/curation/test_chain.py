from collections.abc import Sequence
from pathlib import Path

import pytest

from steps.core.documents import Document, Message, joined
from steps.curation.chain import Chain, judge, named
from tests.builders import build_document

NOWHERE = Path("nowhere")
CHAIN = Chain.model_validate({"quality": [{"method": "basic", "min_characters": 5}, "basic"], "privacy": []})


def fates(chain: Chain, documents: Sequence[Document]) -> list[tuple[str, str]]:
    return [(fate.rule, fate.judgement.reason) for fate in judge(chain, documents, NOWHERE).fates]


def test_rules_apply_in_order_each_to_what_those_before_left() -> None:
    documents = [build_document("a", "tiny"), build_document("b", "small enough"), build_document("c", "word " * 20)]
    judged = judge(CHAIN, documents, NOWHERE)
    assert [fate.rule for fate in judged.fates] == ["quality/basic", "quality/basic-2", ""]
    assert [(one.rule, one.documents, one.characters) for one in judged.passages] == [
        ("quality/basic", 2, 112),
        ("quality/basic-2", 1, 100),
    ]


def test_a_second_rule_of_a_method_has_a_name_of_its_own() -> None:
    assert named("quality", CHAIN.quality) == ["quality/basic", "quality/basic-2"]


def test_personal_data_is_masked_and_counted_by_kind() -> None:
    chain = Chain.model_validate({"quality": [], "privacy": ["patterns"]})
    judged = judge(chain, [build_document("a", "Write to jane.roe@example.org today.")], NOWHERE)
    assert judged.fates[0].document.text == "Write to [email] today."
    assert judged.changes == {"privacy/patterns: email": 1}


def test_a_document_with_personal_data_can_be_dropped() -> None:
    chain = Chain.model_validate({"quality": [], "privacy": [{"method": "patterns", "action": "drop"}]})
    documents = [build_document("a", "Write to jane.roe@example.org today."), build_document("b", "Write today.")]
    assert fates(chain, documents) == [("privacy/patterns", "private-email"), ("", "")]


def test_the_turns_of_a_labelled_record_are_mended_each_by_itself() -> None:
    turns = (Message(role="user", content="Who is jane.roe@example.org?"), Message(role="assistant", content="Jane."))
    document = build_document("a", joined(turns)).model_copy(update={"messages": turns})
    chain = Chain.model_validate({"repair": ["characters"], "quality": [], "privacy": ["patterns"]})
    (fate,) = judge(chain, [document], NOWHERE).fates
    assert fate.document.messages == (Message(role="user", content="Who is [email]?"), turns[1])
    assert fate.document.text == "Who is [email]?\n\nJane."


def test_a_rule_without_a_name_is_refused() -> None:
    with pytest.raises(ValueError, match="no method 'magic'"):
        Chain.model_validate({"quality": ["magic"]})


def test_a_chain_is_written_with_the_names_of_its_rules() -> None:
    written = CHAIN.model_dump(mode="json")
    assert [rule["method"] for rule in written["quality"]] == ["basic", "basic"]
    assert Chain.model_validate(written) == CHAIN


def test_what_a_repair_reads_is_pinned_by_its_digest(tmp_path: Path) -> None:
    (tmp_path / "programs.jsonl").write_text('{"key": "a", "program": "remove_lines(line_start=0, line_end=0)"}\n')
    repair = {"method": "refine", "stage": "chunk", "programs": "programs.jsonl", "min_words": 0}
    chain = Chain.model_validate({"repair": [repair], "quality": [], "privacy": []})
    pinned = chain.pinned(tmp_path)
    assert pinned != chain
    judged = judge(pinned.located(tmp_path, "cpu"), [build_document("a", "menu\nthe words of the page")], NOWHERE)
    assert judged.fates[0].document.text == "the words of the page"
    (tmp_path / "programs.jsonl").write_text('{"key": "a", "program": "remove_lines(all=True)"}\n')
    with pytest.raises(ValueError, match="wanted digest"):
        pinned.located(tmp_path, "cpu")
