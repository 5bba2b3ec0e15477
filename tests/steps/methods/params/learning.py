"""A network of a `params` method, trained for a few steps on one text, apart from the stage."""

from pathlib import Path
from typing import Any

import torch

from steps.core.blocks import MicroBatch
from steps.core.models import load_model
from steps.methods.params import Attached, Params
from tests.tiny_models import tiny_model

INPUT_IDS = torch.randint(4, 260, (2, 24), generator=torch.Generator().manual_seed(7))
BATCH = MicroBatch(INPUT_IDS, torch.ones_like(INPUT_IDS, dtype=torch.bool), None, None, None, ["new/alpha"] * 2)


def logits_BTV(network: Any) -> torch.Tensor:
    """What a network says of the text."""
    with torch.no_grad():
        found: torch.Tensor = network(input_ids=INPUT_IDS).logits
    return found


def nats(network: Any) -> float:
    """Its loss on the text, in nats per token."""
    flat = logits_BTV(network)[:, :-1].flatten(0, 1)
    return float(torch.nn.functional.cross_entropy(flat, INPUT_IDS[:, 1:].flatten()))


def learn(params: Params, attached: Attached, num_steps: int = 4, learning_rate: float = 1e-2) -> Attached:
    """Train as the stage does, on the same text at every step."""
    optimizer = attached.optimizer = torch.optim.AdamW(attached.trained.values(), lr=learning_rate)
    for step in range(1, num_steps + 1):
        params.look(attached, BATCH)
        loss = attached.network(input_ids=INPUT_IDS, labels=INPUT_IDS).loss
        penalty = params.penalty(attached)
        (loss if penalty is None else loss + penalty).backward()
        params.gradients(attached, step)
        optimizer.step()
        params.moved(attached, step)
        optimizer.zero_grad()
    return attached


def learned(params: Params, folder: Path, past: dict[str, torch.Tensor] | None = None, num_steps: int = 4) -> Attached:
    """The tiny model of seed 0, kept in `folder`, with a method attached and trained."""
    return learn(params, params.attach(load_model(tiny_model(folder)), 1, past or {}), num_steps)
