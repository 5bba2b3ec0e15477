import json
from pathlib import Path

import pytest

from benchmarks import training, training_runs


def setting(folder: Path, name: str, params: str = "full", **knobs: object) -> training_runs.Setting:
    return training_runs.Setting(
        name=name,
        params=params,
        folder=str(folder),
        device="cpu",
        block_tokens=16,
        per_step=2,
        micro=1,
        warm=1,
        steps=2,
        fused=False,
        knobs=knobs,
    )


def test_plain_training_and_a_bare_loop_are_measured_and_compared(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    training_runs.furnish(setting(tmp_path, "ours"), "tiny")
    rows = []
    for name, params in (("ours", "full"), ("bare", "full"), ("ours", "lora"), ("bare", "lora")):
        found = training_runs.child(setting(tmp_path, name, params))
        assert found["tokens_per_second"] > 0
        assert found["peak_mb"] > found["before_mb"] > 0
        rows.append({"round": 0, "name": name, "params": params, **found})
    rows.append({"round": 0, "name": "params/lora", "params": "full", "failed": "ValueError: no"})
    training.report(rows, training.arguments(["--model", "tiny", "--rounds", "1", "--steps", "2"]))
    told = capsys.readouterr().out
    assert told.count("| ours |") == told.count("| bare |") == 2
    assert "params/lora did not run: ValueError: no" in told


def test_the_same_tokens_are_learned_by_this_engine_and_by_a_bare_loop(tmp_path: Path) -> None:
    """Both read blocks.npy's blocks in its order: the streams are the same rows, in turn."""
    import numpy as np

    from steps.core.streams import Streams

    training_runs.furnish(setting(tmp_path, "ours"), "tiny")
    draws_D4 = np.load(tmp_path / "mix/order.npy")
    read_BT = Streams(tmp_path / "mix", 2).read(draws_D4).input_ids
    assert read_BT.tolist() == np.load(tmp_path / "blocks.npy").tolist()
    assert json.loads((tmp_path / "mix/plan.json").read_text())["sources"] == ["new/text", "replay/general"]


def test_every_method_that_is_no_plain_training_is_an_entry() -> None:
    names = [each["name"] for each in training.entries(training.arguments([]))]
    assert names[:4] == ["ours", "bare", "trainer", "trl"]
    assert {"params/lora", "optimizer/ema"} <= set(names)
    assert not {"params/full", "objective/next-token", "optimizer/adamw"} & set(names)


def test_a_ratio_is_the_median_over_rounds_of_what_ran_beside_plain_training() -> None:
    def row(number: int, name: str, pace: float, peak: float) -> dict[str, object]:
        return {"round": number, "name": name, "params": "full", "tokens_per_second": pace, "peak_mb": peak}

    rows = [row(0, "ours", 100, 10), row(0, "params/half", 50, 8), row(1, "ours", 20, 10), row(1, "params/half", 5, 8)]
    rows += [row(2, "ours", 100, 10), {"round": 2, "name": "params/half", "params": "full", "failed": "ValueError"}]
    assert training.ratios(rows)["params/half", "full"] == pytest.approx((0.375, 0.8))
    assert training.costs(rows) == {"params/half": {"time": 2.67, "memory": 0.8}}
