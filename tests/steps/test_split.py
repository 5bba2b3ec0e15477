from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import ValidationError

from steps.core.artifacts import Corpus, Holdout, HoldoutState, TaskFacts
from steps.core.documents import Item, Message, joined, read_items
from steps.core.state import current_holdout
from steps.core.workspace import Workspace
from steps.split import SplitConfig, side_of, split
from tests.builders import at_stage, build_corpus, build_document, build_texts, build_workspace, contents, empty, prose

CONFIG = SplitConfig(
    gate_share=0.3, validation_share=0.2, gate_items=6, fresh_items=6, min_fresh_items=4, validation_items=4
)
TASK = TaskFacts(name="topics")


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return build_workspace(tmp_path)


def texts(first: int, last: int, num_words: int = 30) -> dict[str, str]:
    return {f"k{number}": prose(number, num_words) for number in range(first, last)}


def keys_on(side: str | None, count: int, task: TaskFacts = TASK) -> list[str]:
    names = (f"key-{number}" for number in range(10_000))
    return [name for name in names if side_of(CONFIG, task, name) == side][:count]


def run(
    workspace: Workspace, corpus: Mapping[str, Corpus], old: HoldoutState | None = None, stage: str = "split"
) -> Holdout:
    return split(at_stage(workspace, stage), CONFIG, corpus, old or empty(HoldoutState))


def items(workspace: Workspace, holdout: Holdout, name: str, task: str = "topics") -> list[Item]:
    folder = holdout.validation.path if name == "validation" else holdout.gate.path
    return read_items(workspace.at(folder) / task / f"{name}.jsonl")


def test_the_sides_have_their_shares() -> None:
    sides = [side_of(CONFIG, TASK, f"key-{number}") for number in range(4000)]
    assert sides.count("gate") / 4000 == pytest.approx(0.3, abs=0.03)
    assert sides.count("validation") / 4000 == pytest.approx(0.2, abs=0.03)


def test_a_key_stays_on_its_side_for_ever() -> None:
    sides = ["validation", "validation", "gate", "validation", None, None]
    assert [side_of(CONFIG, TASK, key) for key in "abcdef"] == sides


def test_the_two_parts_share_no_document_and_counts_are_true(workspace: Workspace) -> None:
    holdout = run(workspace, {"topics": build_texts(workspace, texts(0, 60))})
    held = current_holdout(workspace, holdout.state)
    parts = held.parts()
    assert holdout.held_out == {"topics": len(parts)}
    assert set(parts) == {key for key in texts(0, 60) if side_of(CONFIG, TASK, key)}
    gate = {item.document for name in ("anchor", "fresh") for item in items(workspace, holdout, name)}
    validation = {item.document for item in items(workspace, holdout, "validation")}
    assert {parts[key] for key in gate} == {"gate"}
    assert {parts[key] for key in validation} == {"validation"}
    assert holdout.gate.anchor == {"topics": 6}
    assert holdout.validation.num_items == {"topics": 4}


def test_items_come_from_as_many_documents_as_possible(workspace: Workspace) -> None:
    long = {key: prose(number, 400) for number, key in enumerate(keys_on("gate", 4))}
    holdout = run(workspace, {"topics": build_texts(workspace, long)})
    assert len({item.document for item in items(workspace, holdout, "anchor")}) == 4
    assert max(len(item.text.split()) for item in items(workspace, holdout, "anchor")) <= CONFIG.passage_words


def test_near_duplicates_lie_on_the_side_of_the_smallest_key(workspace: Workspace) -> None:
    gate, train = sorted(keys_on("gate", 1))[0], keys_on(None, 1)[0]
    first, second = sorted([gate, train])
    page = prose(1, 200)
    holdout = run(workspace, {"topics": build_texts(workspace, {second: page, first: page + " end"})})
    assert holdout.held_out["topics"] == (2 if first == gate else 0)


def test_a_near_duplicate_of_a_held_out_document_is_held_out_in_its_part(workspace: Workspace) -> None:
    key, twin = keys_on("validation", 1)[0], keys_on(None, 1)[0]
    first = run(workspace, {"topics": build_texts(workspace, {key: prose(1, 200)})})
    corpus = build_texts(workspace, {twin: prose(1, 200) + " more"}, place="later")
    second = run(workspace, {"topics": corpus}, first.state, stage="later")
    assert current_holdout(workspace, second.state).parts() == {key: "validation", twin: "validation"}


def test_a_held_out_key_stays_held_out_with_its_new_content(workspace: Workspace) -> None:
    key = keys_on("gate", 1)[0]
    first = run(workspace, {"topics": build_texts(workspace, {key: prose(1)})})
    second = run(workspace, {"topics": build_texts(workspace, {key: prose(2)}, place="later")}, first.state, "later")
    assert second.held_out == {"topics": 1}
    assert [document.text for document in current_holdout(workspace, second.state).documents] == [prose(1), prose(2)]


def test_the_anchor_is_topped_up_and_then_frozen(workspace: Workspace) -> None:
    keys = keys_on("gate", 40)
    corpora = [
        build_texts(workspace, {key: prose(number, 30) for number, key in enumerate(keys)}, place="all"),
        build_texts(workspace, {keys[0]: prose(100)}, place="first"),
    ]
    state = run(workspace, {"topics": corpora[1]}, stage="one")
    assert state.gate.anchor["topics"] == 2  # 40 words: two passages
    first = items(workspace, state, "anchor")
    second = run(workspace, {"topics": corpora[0]}, state.state, stage="two")
    assert items(workspace, second, "anchor")[:2] == first
    assert second.gate.anchor == {"topics": 6}
    later = build_texts(workspace, {key: prose(200 + number, 30) for number, key in enumerate(keys)}, place="later")
    third = run(workspace, {"topics": later}, second.state, stage="three")
    assert items(workspace, third, "anchor") == items(workspace, second, "anchor")
    assert third.gate.fresh == {"topics": 6}
    assert third.gate.pooled == ()
    assert not {item.id for item in items(workspace, third, "fresh")} & {
        item.id for item in items(workspace, third, "anchor")
    }


def test_a_small_fresh_set_is_pooled_with_the_anchor_set(workspace: Workspace) -> None:
    keys = keys_on("gate", 7)
    first = build_texts(workspace, {key: prose(number, 30) for number, key in enumerate(keys)})
    founded = run(workspace, {"topics": first}, stage="one")
    assert founded.gate.pooled == ("topics",)
    assert items(workspace, founded, "fresh") == items(workspace, founded, "anchor"), "at first the anchor is fresh"
    later = build_texts(workspace, {keys[0]: prose(100, 30)}, place="later")
    holdout = run(workspace, {"topics": later}, founded.state, stage="two")
    assert holdout.gate.pooled == ("topics",)
    fresh = items(workspace, holdout, "fresh")
    assert fresh[:6] == items(workspace, holdout, "anchor")
    assert len(fresh) == 7


def refreshes(workspace: Workspace, number: int, config: SplitConfig) -> list[Holdout]:
    """Each lands documents of its own, enough for a full fresh set."""
    keys, state, made = keys_on("gate", 12 * number), empty(HoldoutState), []
    for turn in range(number):
        landed = {key: prose(1000 * turn + k, 30) for k, key in enumerate(keys[12 * turn : 12 * turn + 12])}
        corpus = build_texts(workspace, landed, place=f"corpus-{turn}")
        made.append(split(at_stage(workspace, f"turn-{turn}"), config, {"topics": corpus}, state))
        state = made[-1].state
    return made


def test_what_was_fresh_is_judged_in_three_refreshes_more_and_then_retires(workspace: Workspace) -> None:
    made = refreshes(workspace, 6, CONFIG)
    fresh = [[item.id for item in items(workspace, holdout, "fresh")] for holdout in made]
    recent = [[item.id for item in items(workspace, holdout, "recent")] for holdout in made]
    assert recent[0] == recent[1] == [], "the first fresh set is the anchor set, which never retires"
    assert recent[2] == fresh[1]
    assert recent[4] == fresh[1] + fresh[2] + fresh[3]
    assert recent[5] == fresh[2] + fresh[3] + fresh[4]
    assert [holdout.gate.recent.get("topics", 0) for holdout in made] == [0, 0, 6, 12, 18, 18]
    kept = current_holdout(workspace, made[5].state).parts()
    retired = {item.document for item in items(workspace, made[1], "fresh")}
    assert {kept[key] for key in retired} == {"gate"}, "its documents stay held out"


def test_a_fresh_set_that_is_judged_once_leaves_nothing(workspace: Workspace) -> None:
    once = CONFIG.model_copy(update={"fresh_refreshes": 1})
    assert [holdout.gate.recent for holdout in refreshes(workspace, 4, once)] == [{}] * 4


def test_a_withdrawn_page_leaves_the_recent_set(workspace: Workspace) -> None:
    *_, last = refreshes(workspace, 3, CONFIG)
    gone = items(workspace, last, "recent")[0].document
    corpus = build_corpus(workspace, [], withdrawn=[gone])
    after = split(at_stage(workspace, "after"), CONFIG, {"topics": corpus}, last.state)
    assert gone not in {item.document for item in items(workspace, after, "recent")}
    assert after.gate.recent == {"topics": 11}


def test_labelled_documents_are_items_with_their_turns(workspace: Workspace) -> None:
    rows = []
    for number, key in enumerate(keys_on("gate", 3) + keys_on("validation", 2)):
        said = (Message(role="prompt", content=prose(number)), Message(role="completion", content=f"{number}"))
        rows.append(build_document(key, joined(said)).model_copy(update={"messages": said}))
    holdout = run(workspace, {"topics": build_corpus(workspace, rows)})
    held = [*items(workspace, holdout, "anchor"), *items(workspace, holdout, "validation")]
    assert sorted((item.document, item.messages) for item in held) == sorted((row.key, row.messages) for row in rows)
    later = build_texts(workspace, texts(0, 40), place="later")
    again = run(workspace, {"topics": later}, holdout.state, stage="later")
    assert items(workspace, again, "anchor")[:3] == held[:3], "they come back from the state as they were"


def test_a_task_without_new_data_keeps_its_sets_and_has_no_fresh_set(workspace: Workspace) -> None:
    first = run(workspace, {"topics": build_texts(workspace, texts(0, 40))})
    other = build_texts(workspace, {f"o{number}": prose(500 + number) for number in range(20)}, task="other")
    second = run(workspace, {"other": other}, first.state, stage="later")
    assert items(workspace, second, "anchor") == items(workspace, first, "anchor")
    assert items(workspace, second, "validation") == items(workspace, first, "validation")
    assert list(second.gate.anchor) == ["other", "topics"]
    assert list(second.gate.fresh) == ["other"]
    assert second.held_out.keys() == {"other"}


def test_a_withdrawn_page_leaves_the_sets(workspace: Workspace) -> None:
    first = run(workspace, {"topics": build_texts(workspace, texts(0, 40))})
    gone = items(workspace, first, "anchor")[0].document
    second = run(workspace, {"topics": build_corpus(workspace, [], withdrawn=[gone])}, first.state, stage="later")
    assert gone not in {item.document for item in items(workspace, second, "anchor")}
    assert gone not in current_holdout(workspace, second.state).parts()


def test_only_train_tasks_have_a_fresh_set(workspace: Workspace) -> None:
    corpus = build_texts(workspace, texts(0, 60), task="general", role="replay-only")
    holdout = run(workspace, {"general": corpus})
    assert holdout.gate.anchor == {"general": 6}
    assert holdout.gate.fresh == {}


def test_an_eval_only_task_is_held_out_whole(workspace: Workspace) -> None:
    corpus = build_texts(workspace, texts(0, 50), task="exam", role="eval-only")
    holdout = run(workspace, {"exam": corpus})
    assert holdout.held_out == {"exam": 50}
    parts = list(current_holdout(workspace, holdout.state).parts().values())
    assert parts.count("gate") / 50 == pytest.approx(0.6, abs=0.2)


def test_a_superseded_record_is_not_held_out(workspace: Workspace) -> None:
    key = keys_on("gate", 1)[0]
    corpus = build_corpus(workspace, [build_document(key, prose(1)), build_document(key, prose(2))])
    holdout = run(workspace, {"topics": corpus})
    assert holdout.held_out == {"topics": 1}
    assert [document.text for document in current_holdout(workspace, holdout.state).documents] == [prose(2)]


def test_a_page_that_landed_again_unchanged_adds_nothing(workspace: Workspace) -> None:
    corpus = {"topics": build_texts(workspace, texts(0, 40))}
    first = run(workspace, corpus)
    second = run(workspace, corpus, first.state, stage="later")
    assert second.held_out == first.held_out
    assert second.gate.anchor == first.gate.anchor
    assert len(current_holdout(workspace, second.state).documents) == len(
        current_holdout(workspace, first.state).documents
    )


def test_the_same_input_gives_the_same_bytes_whatever_the_seed(tmp_path: Path) -> None:
    made = []
    for seed in (1, 2):
        workspace = build_workspace(tmp_path / str(seed), seed=seed)
        holdout = run(workspace, {"topics": build_texts(workspace, texts(0, 40))})
        made.append((holdout, contents(workspace.root / "data/split")))
    assert made[0] == made[1]


def test_shares_that_leave_nothing_to_train_on_are_refused() -> None:
    with pytest.raises(ValidationError, match="leave nothing to train on"):
        SplitConfig(gate_share=0.6, validation_share=0.4)
    with pytest.raises(ValidationError, match="no item could be cut"):
        SplitConfig(passage_words=5, min_passage_words=8)
