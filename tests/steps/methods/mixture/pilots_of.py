"""Pilots as the engine hands them over, made from known curves."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from steps.methods.mixture import Fit, Mixture, Pilot, Supply, Trial

FIT = Fit(path="plan.json", digest="0" * 64)


def supply(budget_tokens: int = 600_000, content: Mapping[str, Any] | None = None, **knobs: Any) -> Supply:
    given: dict[str, Any] = {"new": {"law": 3000, "code": 1000}, "replay": {"web": 900, "news": 300}} | knobs
    return Supply(
        budget_tokens=budget_tokens,
        max_epochs=4,
        num_parameters=10,
        losses=dict,
        read=lambda fit: json.loads(json.dumps(content, allow_nan=False)),
        **given,
    )


def run(trial: Trial, losses: Callable[[float, np.ndarray], Mapping[str, np.ndarray]], num_points: int = 25) -> Pilot:
    """A pilot of one trial; `losses(ratio, tokens)` -> task -> loss at each, the first before training."""
    tokens = np.linspace(0, trial.num_tokens, num_points + 1).astype(int)
    seen = losses(round(1 - trial.shares.replay, 9), tokens)
    by_task = {task: tuple(float(loss) for loss in values) for task, values in seen.items()}
    return Pilot(trial=trial, tokens=tuple(int(count) for count in tokens), losses=by_task, num_parameters=10)


def runs(method: Mixture, of: Supply, losses: Callable[[float, np.ndarray], Mapping[str, np.ndarray]]) -> list[Pilot]:
    return [run(trial, losses) for trial in method.pilots(of, seed=0)]
