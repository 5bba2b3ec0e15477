"""What a person reads of a refresh, and of a line."""

from pipelines.edge.line import read_line
from pipelines.edge.outcome import Outcome, TaskRow
from pipelines.edge.reports import line_report, refresh_report, refresh_rows, result, table
from steps.core.artifacts import Comparison, Gap, ItemUse
from tests.pipelines.edge.test_line import LEDGER

ROWS = (
    TaskRow(
        task="wiki",
        role="train",
        before=4.0,
        after=3.5,
        change=-0.5,
        low=-0.6,
        high=-0.4,
        num_items=30,
        planned_tokens=100,
        achieved_tokens=90,
        planned_replay=20,
        achieved_replay=10,
        landed=5,
        kept=3,
        held_out=1,
        dropped={"too-short": 1},
    ),
    TaskRow(task="law", role="train", before=2.0, after=2.1, change=0.1, low=0.05, high=0.2),
    TaskRow(task="new", role="train"),
)
OUTCOME = Outcome(
    kind="rejected",
    version="4",
    parent="3",
    rows=ROWS,
    reasons=("law: lost",),
    seconds=61,
    device_seconds=50,
    tokens=90,
)
BATCHES = {"wiki": ["0001-a", "0002-b", "0003-c", "0004-d"]}


def test_a_report_tells_of_data_mixture_gain_loss_reason_and_cost() -> None:
    links = {"the MLflow run": "http://127.0.0.1:5000/#/runs/1", "the Prefect run": None}
    text = refresh_report(OUTCOME, cause="landing", batches=BATCHES, links=links)
    for words in (
        "**Version 4 rejected**, made from version 3. Started: landing. 90 tokens trained on; 61 s, 50 s of them",
        "[the MLflow run](http://127.0.0.1:5000/#/runs/1)",
        "- law: lost",
        "| wiki | 4.000 | 3.500 | -0.500 [-0.600, -0.400] | 30 | gained |",
        "| law | 2.000 | 2.100 | +0.100 [+0.050, +0.200] | 0 | lost |",
        "| new | – | – | – | 0 |  |",
        "| wiki | 80 of 80 | 10 of 20 | 100.0% (planned 100.0%) |",
        "| wiki | `0001-a`, `0002-b`, `0003-c` and 1 more | 5 | 3 | 1 | 1 too-short | 0 | 0 |",
        "| law | none new |",
    ):
        assert words in text, text
    assert "Prefect run" not in text, "no link without an address"


def test_a_report_says_why_it_was_mixed_so() -> None:
    told = OUTCOME.model_copy(update={"told": ("staged: the first 70.0% of the budget replays 0.0%",)})
    assert "\n- staged: the first 70.0% of" in refresh_report(told, cause="landing", batches=BATCHES, links={})


def test_a_report_says_what_became_worse_on_the_way() -> None:
    never = Gap(depth_nats=0.25, worst_step=1024, recovery_steps=None, area_nats=1234.0)
    back = never.model_copy(update={"worst_step": 8, "recovery_steps": 24, "area_nats": 1.5})
    none = Gap(depth_nats=0, worst_step=0, recovery_steps=0, area_nats=0)
    found = OUTCOME.model_copy(update={"gap": {"wiki": never, "law": back, "new": none}})
    text = refresh_report(found, cause="landing", batches=BATCHES, links={})
    for words in (
        "- wiki: worse by 0.250 nats per token at step 1,024 of training, was never back (stability gap; area 1.23e+03",
        "- law: worse by 0.250 nats per token at step 8 of training, was back 24 steps later (stability gap; area 1.5 ",
        "- new: never worse while training than before it.",
    ):
        assert words in text, text


def test_the_table_has_a_row_for_each_task() -> None:
    rows = refresh_rows(OUTCOME)
    assert [row["task"] for row in rows] == ["wiki", "law", "new"]
    assert (rows[0]["before"], rows[0]["tokens trained"], rows[0]["dropped"]) == ("4.000", 90, 1)


def test_a_report_says_what_was_asked_with_which_power_and_how_often_the_items_decided() -> None:
    kinds = [
        ("wiki", "task", "anchor", "nats", "non-inferiority", "undecided", 40),
        ("wiki", "task", "fresh", "nats", "superiority", "pass", None),
        ("facts", "suite", "anchor", "points", "non-inferiority", "pass", None),
        ("canaries", "suite", "anchor", "points", "must-hold", "fail", None),
    ]
    asked = [
        Comparison.model_validate(
            {"task": task, "scope": scope, "part": part, "unit": unit, "kind": kind, "outcome": outcome}
            | {"against": "base", "change": -0.5, "low": -1.25, "high": 0.25, "margin": 0.1, "p_value": 0.5}
            | {"power": 0.875 if kind == "non-inferiority" else None, "num_items": 1200, "num_documents": 9}
            | {"more_items": more, "reason": "because"}
        )
        for task, scope, part, unit, kind, outcome, more in kinds
    ]
    found = OUTCOME.model_copy(update={"comparisons": tuple(asked), "uses": {"wiki": ItemUse(mean=3.5, most=6)}})
    text = refresh_report(found, cause="landing", batches=BATCHES, links={})
    for words in (
        "| wiki | base | -0.500 [-1.250, +0.250] nats | 0.100 | 0.88 | 1,200 | 3.5× | undecided, 40 more items |",
        "| wiki (fresh) | base | -0.500 [-1.250, +0.250] nats | a gain | – | 1,200 | – | pass |",
        "| facts (suite) | base | -0.5 [-1.2, +0.2] points | 0.1 | 0.88 | 1,200 | – | pass |",
        "| canaries (suite) | base | -0.5 [-1.2, +0.2] points | nothing | – | 1,200 | – | fail |",
    ):
        assert words in text, text


def test_of_very_many_reasons_the_first_and_the_last_are_shown() -> None:
    found = OUTCOME.model_copy(update={"reasons": tuple(f"reason {k}" for k in range(300))})
    text = refresh_report(found, cause="landing", batches=BATCHES, links={})
    assert "- reason 29\n- and 260 more\n- reason 290\n" in text
    assert "reason 30\n" not in text


def test_a_result_is_three_words() -> None:
    assert result(OUTCOME) == "version 4 rejected"


def test_the_line_is_told_newest_first_with_its_champion() -> None:
    text = line_report("mine", read_line(LEDGER))
    assert text.startswith("**mine**: version 1 serves. 3 versions;")
    assert [line.split(" | ")[0] for line in text.splitlines()[4:]] == ["| 3", "| 2", "| **1**"]
    assert "the base model serves" in line_report("mine", read_line([]))


def test_a_bar_in_a_cell_stays_in_its_cell() -> None:
    assert table(("a",), [("x|y",)]) == "| a |\n| --- |\n| x\\|y |"
