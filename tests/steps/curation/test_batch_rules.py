import json
from pathlib import Path
from typing import Any

import pytest

from steps.clean import CleanConfig
from steps.core.artifacts import Kept
from steps.core.workspace import Workspace
from steps.curation.batch_rules import BatchRules, check, compared, last_figures, next_figures
from steps.curation.statistics import Figures
from tests.builders import Data, build_corpus, build_document, build_workspace, prose, run_data_stages

USUAL = Figures(documents=100, judged=100, median_characters=1000, share_dropped=0.1, languages={"en": 0.9, "de": 0.1})


def changed(**facts: Any) -> Figures:
    return USUAL.model_copy(update=facts)


def test_the_row_that_is_judged() -> None:
    now = changed(documents=50, median_characters=250, share_dropped=0.4, languages={"en": 0.5, "fr": 0.5})
    assert compared(now, USUAL) == {
        "volume_ratio": 0.5,
        "length_ratio": 0.25,
        "language_shift": 0.5,  # 40 of 100 leave English, 10 German: 50 go to French
        "dropped_change": 0.3,
    }


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ({"documents": 1001}, "volume: 1,001 documents, 100 in the last accepted refresh"),
        ({"median_characters": 100.0}, "length: the median document has 100 characters, 1,000 in the last"),
        ({"median_characters": 4001.0}, "length: the median document has 4,001 characters"),
        ({"languages": {"fr": 0.6, "en": 0.4}}, "languages: fr 60%, en 40%; in the last accepted refresh en 90%, de"),
        ({"share_dropped": 0.41}, "dropped: 41% by rules, 10% in the last accepted refresh"),
    ],
)
def test_a_batch_that_breaks_a_rule_says_which_and_by_what(facts: dict[str, Any], why: str) -> None:
    found = check(BatchRules(), "topics", changed(**facts), USUAL)
    assert found.why.startswith(why)
    assert found.result
    assert not found.result["success"]
    broken = [one for one in found.result["results"] if not one["success"]]
    assert [one["expectation_config"]["type"] for one in broken] == ["expect_column_values_to_be_between"]


def test_at_the_limits_a_batch_passes() -> None:
    now = changed(documents=1000, median_characters=250.0, languages={"en": 0.6, "de": 0.4}, share_dropped=0.4)
    found = check(BatchRules(), "topics", now, USUAL)
    assert found.why == ""
    assert found.result
    assert found.result["statistics"]["evaluated_expectations"] == 4


def test_what_few_documents_say_is_not_judged_but_their_number() -> None:
    few = changed(documents=5, judged=5, median_characters=1.0, languages={"fr": 1.0}, share_dropped=1.0)
    assert check(BatchRules(), "topics", few, USUAL).why == ""
    why = check(BatchRules(min_volume_ratio=0.1), "topics", few, USUAL).why
    assert why == "volume: 5 documents, 100 in the last accepted refresh"


def test_updates_of_a_few_pages_among_many_that_are_known_say_nothing_of_the_mix() -> None:
    assert check(BatchRules(), "topics", changed(judged=3, languages={"fr": 1.0}), USUAL).why == ""


def test_nothing_is_compared_with_nothing_with_too_little_or_where_all_is_switched_off() -> None:
    off = {name: None for name in BatchRules.model_fields if name != "min_documents"}
    assert check(BatchRules(), "topics", USUAL, None).result is None
    assert check(BatchRules(), "topics", USUAL, changed(documents=49)).result is None
    assert check(BatchRules.model_validate(off), "topics", changed(documents=10**6), USUAL).result is None


def test_a_task_with_too_few_documents_keeps_the_figures_that_it_had() -> None:
    few = changed(documents=3)
    assert next_figures(BatchRules(), {"a": USUAL, "b": USUAL}, {"a": few, "c": USUAL}) == {
        "a": USUAL,
        "b": USUAL,
        "c": USUAL,
    }


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return build_workspace(tmp_path)


def refreshed(workspace: Workspace, name: str, words: dict[str, int], before: Data | None = None, **facts: Any) -> Data:
    """A refresh of sixty documents in each task, of so many words."""
    start = {"first": 0, "second": 1000}[name]
    corpus = {
        task: build_corpus(
            workspace,
            [build_document(f"{task}-{start + n}", prose(start + 100 * len(task) + n, size), task) for n in range(60)],
            task,
            place=name,
        ).model_copy(update=facts)
        for task, size in words.items()
    }
    return run_data_stages(workspace, corpus, before, refresh=name, cleaning=CleanConfig())


def file(workspace: Workspace, kept: Kept, *place: str) -> Any:
    return json.loads(workspace.at(kept.path).joinpath(*place).read_text(encoding="utf-8"))


def test_a_task_that_became_ten_times_shorter_is_held_with_its_report_and_the_others_go_on(
    workspace: Workspace,
) -> None:
    before = refreshed(workspace, "first", {"topics": 100, "other": 100})
    after = refreshed(workspace, "second", {"topics": 10, "other": 100}, before)
    assert after.kept.kept == {"other": 60}
    assert after.kept.held["topics"].startswith("length: the median document has")
    folder = workspace.at(after.kept.path) / "held" / "topics"
    assert sorted(path.name for path in folder.iterdir()) == [
        "batch.json",
        "dropped.jsonl",
        "passages.json",
        "statistics.json",
    ]
    assert not file(workspace, after.kept, "held", "topics", "batch.json")["success"]
    assert file(workspace, after.kept, "other", "batch.json")["success"]
    figures = last_figures([workspace.at(segment.path) for segment in after.kept.index.segments])
    assert figures["topics"].median_characters > 500, "what it was before: the batch did not count"


def test_what_a_person_let_pass_is_not_held_again(workspace: Workspace) -> None:
    before = refreshed(workspace, "first", {"topics": 100})
    after = refreshed(workspace, "second", {"topics": 10}, before, released=True)
    assert after.kept.held == {}
    assert after.kept.kept == {"topics": 60}
    assert not file(workspace, after.kept, "topics", "batch.json")["success"], "it is still told"
