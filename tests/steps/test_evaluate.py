import json
import math
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from steps.core.artifacts import GateItems, Model
from steps.core.documents import Item, Message, joined, row_of
from steps.core.shards import digest_of, read_lines, write_lines
from steps.core.workspace import Workspace
from steps.evaluate import EvaluateConfig, evaluate
from tests.builders import prose
from tests.tiny_models import parent_model, tiny_workspace

QUIET = EvaluateConfig(sample_tokens=0, batch_items=4)


def items_of(task: str, numbers: range) -> list[Item]:
    """Two items of every document, of different lengths."""
    return [
        Item(
            id=digest_of([task, k])[:16],
            task=task,
            document=f"{task}/{k // 2}",
            text=f"{task} {prose(k)}"[: 20 + 7 * k],
        )
        for k in numbers
    ]


def hold_out(
    workspace: Workspace,
    anchor: Mapping[str, list[Item]],
    fresh: Mapping[str, list[Item]],
    recent: Mapping[str, list[Item]] | None = None,
) -> GateItems:
    folder = workspace.root / "data" / "split" / "gate"
    counts = {}
    for part, tasks in (("anchor", anchor), ("fresh", fresh), ("recent", recent or {})):
        for task, items in tasks.items():
            write_lines(folder / task / f"{part}.jsonl", map(row_of, items))
        counts[part] = {task: len(items) for task, items in tasks.items()}
    return GateItems(digest="items", path=workspace.relative(folder), **counts)


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return replace(tiny_workspace(tmp_path, "evaluate/model"), code="code")


@pytest.fixture
def model(workspace: Workspace) -> Model:
    return parent_model(workspace)


@pytest.fixture
def items(workspace: Workspace) -> GateItems:
    docs = items_of("docs", range(10))
    return hold_out(workspace, {"docs": docs[:6], "general": items_of("general", range(5))}, {"docs": docs[4:]})


def without(workspace: Workspace, model: Model) -> None:
    """From here on, loading the model would fail."""
    shutil.rmtree(workspace.at(model.path))


def test_the_report_is_the_mean_of_its_items(workspace: Workspace, model: Model, items: GateItems) -> None:
    report = evaluate(workspace, QUIET, model, items)
    rows = list(read_lines(workspace.at(report.path) / "items.jsonl"))
    anchor = [row for row in rows if (row["task"], row["part"]) == ("docs", "anchor")]
    score = report.anchor["docs"]
    assert score.loss_nats_per_token == pytest.approx(sum(row["nats"] / row["tokens"] for row in anchor) / 6)
    nats, num_bytes = sum(row["nats"] for row in anchor), sum(row["bytes"] for row in anchor)
    assert score.bits_per_byte == pytest.approx(nats / math.log(2) / num_bytes)
    assert (score.num_items, score.num_documents, score.num_tokens) == (6, 3, sum(row["tokens"] for row in anchor))
    assert report.fresh.keys() == {"docs"}
    assert report.model == model.digest
    assert [(row["task"], row["part"], row["id"]) for row in rows] == sorted(
        (row["task"], row["part"], row["id"]) for row in rows
    )


def test_an_item_of_both_sets_is_scored_once_and_listed_twice(
    workspace: Workspace, model: Model, items: GateItems
) -> None:
    evaluate(workspace, QUIET, model, items)
    scored = [row["item"] for line in read_lines(workspace.path / "scores.jsonl") for row in line["items"]]
    assert len(scored) == len(set(scored)) == 15
    assert sum(1 for _ in read_lines(workspace.path / "items.jsonl")) == 17


def test_items_are_cut_to_their_first_tokens(workspace: Workspace, model: Model, items: GateItems) -> None:
    report = evaluate(workspace, QUIET.model_copy(update={"item_tokens": 9}), model, items)
    assert report.anchor["docs"].num_tokens == 6 * 9


def test_the_batch_does_not_change_the_losses(workspace: Workspace, model: Model, items: GateItems) -> None:
    wide = evaluate(workspace, QUIET, model, items)
    (workspace.path / "scores.jsonl").unlink()
    single = evaluate(workspace, QUIET.model_copy(update={"batch_items": 1}), model, items)
    for task, score in wide.anchor.items():
        assert single.anchor[task].loss_nats_per_token == pytest.approx(score.loss_nats_per_token, abs=1e-5)


def test_cached_items_need_no_model(workspace: Workspace, model: Model, items: GateItems) -> None:
    config = EvaluateConfig(sample_tokens=3)
    report = evaluate(workspace, config, model, items)
    without(workspace, model)
    assert evaluate(workspace, config, model, items) == report


def test_new_items_are_scored_beside_the_cached_ones(workspace: Workspace, model: Model, items: GateItems) -> None:
    evaluate(workspace, QUIET, model, items)
    before = (workspace.path / "scores.jsonl").read_bytes()
    more = hold_out(workspace, {"docs": items_of("docs", range(12))}, {})
    assert evaluate(workspace, QUIET, model, more).anchor["docs"].num_items == 12
    after = (workspace.path / "scores.jsonl").read_bytes()
    assert after.startswith(before)
    assert [len(json.loads(line)["items"]) for line in after[len(before) :].splitlines()] == [2]


@pytest.mark.parametrize("change", ["code", "item_tokens", "model"])
def test_what_another_source_scored_is_not_used(
    workspace: Workspace, model: Model, items: GateItems, change: str
) -> None:
    evaluate(workspace, QUIET, model, items)
    lines = (workspace.path / "scores.jsonl").read_bytes().count(b"\n")
    other = replace(workspace, code="other code") if change == "code" else workspace
    config = QUIET.model_copy(update={"item_tokens": 9}) if change == "item_tokens" else QUIET
    evaluate(other, config, parent_model(workspace, "another", seed=9) if change == "model" else model, items)
    assert (workspace.path / "scores.jsonl").read_bytes().count(b"\n") == 2 * lines


@pytest.mark.parametrize("cut", [1, 40, 300])
def test_a_line_cut_short_by_a_kill_is_scored_again_to_the_same_bytes(
    workspace: Workspace, model: Model, items: GateItems, cut: int
) -> None:
    report = evaluate(workspace, QUIET, model, items)
    whole = (workspace.path / "items.jsonl").read_bytes()
    cache = workspace.path / "scores.jsonl"
    cache.write_bytes(cache.read_bytes()[:-cut])
    assert evaluate(workspace, QUIET, model, items) == report
    assert (workspace.path / "items.jsonl").read_bytes() == whole
    without(workspace, model)  # the torn line did not swallow the one written after it
    assert evaluate(workspace, QUIET, model, items) == report


@pytest.mark.parametrize("junk", [b"\xff\xfe\x00", b'{"source": 1}\n', b"[]\n", b"\n\n"])
def test_junk_in_the_cache_counts_as_never_written(
    workspace: Workspace, model: Model, items: GateItems, junk: bytes
) -> None:
    report = evaluate(workspace, QUIET, model, items)
    cache = workspace.path / "scores.jsonl"
    cache.write_bytes(junk + cache.read_bytes())
    assert evaluate(workspace, QUIET, model, items) == report


def test_each_task_has_a_short_sample(workspace: Workspace, model: Model, items: GateItems) -> None:
    report = evaluate(workspace, EvaluateConfig(sample_tokens=4), model, items)
    assert report.samples.keys() == {"docs", "general"}
    assert report.samples["docs"].startswith("docs ")
    assert " → " in report.samples["docs"]


def test_no_samples_when_none_are_wanted(workspace: Workspace, model: Model, items: GateItems) -> None:
    assert evaluate(workspace, QUIET, model, items).samples == {}


def test_the_digest_is_that_of_the_model_and_its_losses(workspace: Workspace, model: Model, items: GateItems) -> None:
    report = evaluate(workspace, QUIET, model, items)
    elsewhere = replace(workspace, path=workspace.root / "data" / "elsewhere")
    again = evaluate(elsewhere, QUIET, model, items)
    assert (again.digest, again.path) == (report.digest, "data/elsewhere")
    other = evaluate(workspace, QUIET, parent_model(workspace, "another", seed=9), items)
    assert other.digest != report.digest


def test_a_task_without_items_has_no_score(workspace: Workspace, model: Model) -> None:
    items = hold_out(workspace, {"docs": items_of("docs", range(4)), "empty": []}, {"empty": []})
    report = evaluate(workspace, EvaluateConfig(sample_tokens=2), model, items)
    assert report.anchor.keys() == {"docs"}
    assert report.fresh == {}


def test_what_was_fresh_is_scored_beside_the_anchor(workspace: Workspace, model: Model) -> None:
    docs = items_of("docs", range(12))
    items = hold_out(workspace, {"docs": docs[:4]}, {"docs": docs[4:8]}, {"docs": docs[8:]})
    report = evaluate(workspace, QUIET, model, items)
    alone = evaluate(workspace, QUIET, model, hold_out(workspace, {"docs": docs[8:]}, {}))
    assert report.recent == alone.anchor
    rows = read_lines(workspace.path / "items.jsonl")
    assert {row["part"] for row in rows} == {"anchor"}
    assert alone.recent == {}


def test_a_labelled_item_is_judged_by_its_completion(workspace: Workspace, model: Model) -> None:
    said = (Message(role="prompt", content="Why does it rain?"), Message(role="completion", content="Clouds."))
    item = Item(id="qa", task="qa", document="qa", text=joined(said), messages=said)
    report = evaluate(workspace, EvaluateConfig(sample_tokens=3), model, hold_out(workspace, {"qa": [item]}, {}))
    assert report.anchor["qa"].num_tokens == len("\n\nClouds.")
    assert report.samples["qa"].startswith("Why does it rain? → ")
    unlabelled = item.model_copy(update={"id": "text", "messages": None})
    as_text = evaluate(workspace, QUIET, model, hold_out(workspace, {"qa": [unlabelled]}, {}))
    assert as_text.anchor["qa"].num_tokens == len(item.text)


def test_a_budget_judges_new_data_whole_and_the_rest_by_one_sample_for_every_model(
    workspace: Workspace, model: Model
) -> None:
    tasks = {name: items_of(name, range(8)) for name in ("docs", "law", "code")}
    items = hold_out(workspace, tasks, {"docs": items_of("docs", range(8, 10))}, {"law": items_of("law", range(8, 10))})
    every = evaluate(workspace, QUIET, model, items)
    assert every.sampled == {}
    budget = every.anchor["docs"].num_tokens + every.fresh["docs"].num_tokens + 10 + 400
    config = QUIET.model_copy(update={"budget_tokens": budget, "sample_tokens": 2})
    others = [model, parent_model(workspace, "another", seed=9)]
    asked, reports = [], []
    for place, each in enumerate(others):
        here = replace(workspace, path=workspace.root / "data" / f"evaluate-{place}")
        here.path.mkdir()
        reports.append(evaluate(here, config, each, items))
        asked.append([(row["part"], row["id"]) for row in read_lines(here.path / "items.jsonl")])
    assert asked[0] == asked[1]
    report = reports[0]
    assert (report.anchor["docs"].num_items, report.fresh["docs"].num_items) == (8, 2)
    assert report.sampled == {"code": 8, "law": 10}
    left = [report.anchor["code"], report.anchor["law"], *report.recent.values()]
    assert 300 < sum(score.num_tokens + score.num_items for score in left) <= 400
    assert report.samples.keys() == {"docs"}, "of what is judged whole"


def test_a_budget_for_everything_changes_nothing(workspace: Workspace, model: Model, items: GateItems) -> None:
    report = evaluate(workspace, QUIET, model, items)
    without(workspace, parent_model(workspace, "other"))
    rich = QUIET.model_copy(update={"budget_tokens": 10**6})
    seen: list[tuple[int, int, str]] = []
    assert evaluate(replace(workspace, progress=lambda *told: seen.append(told)), rich, model, items) == report
    assert seen == [], "the budget is not what decides a number, so nothing is scored again"


def test_the_cache_of_a_pinned_model_stays_as_long_as_the_hold_outs(workspace: Workspace, model: Model) -> None:
    anchor, rows = items_of("docs", range(4)), []
    for turn in range(6):
        fresh = items_of("docs", range(10 + 4 * turn, 14 + 4 * turn))
        evaluate(workspace, QUIET, model, hold_out(workspace, {"docs": anchor}, {"docs": fresh}))
        rows.append(sum(len(line["items"]) for line in read_lines(workspace.path / "scores.jsonl")))
    assert rows == [8, 12, 16, 8, 12, 16]


def test_progress_counts_items(workspace: Workspace, model: Model, items: GateItems) -> None:
    seen: list[tuple[int, int, str]] = []
    evaluate(replace(workspace, progress=lambda *told: seen.append(told)), QUIET, model, items)
    assert seen == [(4, 15, "items"), (8, 15, "items"), (12, 15, "items"), (15, 15, "items")]


def test_items_that_are_not_those_of_split_are_refused(workspace: Workspace, model: Model, items: GateItems) -> None:
    wrong = items.model_copy(update={"anchor": {"docs": 7}})
    with pytest.raises(ValueError, match=r"anchor.jsonl: wanted 7 items, found 6; run `perennial step split` again"):
        evaluate(workspace, QUIET, model, wrong)
