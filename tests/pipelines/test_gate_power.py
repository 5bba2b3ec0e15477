from pathlib import Path

import pytest
from rich.console import Console

from pipelines.gate_power import gate_power, power_tables
from steps.core.rules import Rules
from steps.core.shards import write_lines


def text(found: object) -> str:
    console = Console(width=140)
    with console.capture() as captured:
        console.print(found)
    return captured.get()


def test_more_items_and_less_spread_see_more(tmp_path: Path) -> None:
    found = gate_power(Rules(margin_nats=0.03, margin_points=5.0), tmp_path)
    rows = {row["spread_nats"]: row for row in found["losses"]}
    assert rows[0.3]["power"][200] == pytest.approx(0.41, abs=0.005)
    assert rows[0.3]["items"] == {0.8: 619, 0.95: 1083}  # ((1.645 + 1.645) * 0.3 / 0.03)^2 = 1082.2
    for row in found["losses"] + found["suites"]:
        values = list(row["power"].values())
        assert values == sorted(values)
    assert found["last"] == []
    assert "619" in text(power_tables(found))


def test_the_last_verdict_says_what_its_own_items_could_see(tmp_path: Path) -> None:
    row = {"task": "docs", "part": "anchor", "against": "base", "unit": "nats", "margin": 0.1, "num_items": 100}
    row |= {"power": 0.5, "outcome": "undecided", "kind": "non-inferiority"}
    suite = row | {"task": "facts", "unit": "points", "margin": 5.0}
    write_lines(tmp_path / "comparisons.jsonl", [row, suite, row | {"kind": "superiority", "part": "fresh"}])
    write_lines(
        tmp_path / "intervals.jsonl", [{"task": "docs", "part": "anchor", "against": "base", "error_nats": 0.05}]
    )
    found = gate_power(Rules(), tmp_path)["last"]
    assert [each["task"] for each in found] == ["docs", "facts"]
    assert found[0]["spread_nats"] == pytest.approx(0.5)
    assert found[0]["items"][0.8] == 155  # ((1.645 + 0.842) * 0.5 / 0.1)^2 = 154.6
    assert "5 points" in text(power_tables(gate_power(Rules(), tmp_path)))


def test_verdicts_from_before_there_were_units_are_passed_over(tmp_path: Path) -> None:
    old = {"task": "docs", "against": "base", "margin_nats": 0.1, "kind": "non-inferiority"}
    write_lines(tmp_path / "comparisons.jsonl", [old])
    write_lines(tmp_path / "intervals.jsonl", [])
    assert gate_power(Rules(), tmp_path)["last"] == []
