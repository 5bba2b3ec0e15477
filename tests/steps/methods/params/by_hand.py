"""What methods of the slot params are tried with: a network of one layer, and plain steps of AdamW."""

from typing import Any

import torch

from steps.methods.params import Attached, Params

INPUT_IDS = torch.arange(4, 36)[None]


class OneLayer(torch.nn.Module):
    """One linear layer that is no output layer."""

    def __init__(self, weight: list[list[float]]) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(len(weight[0]), len(weight), bias=False)
        self.layer.weight.data = torch.tensor(weight)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.layer(x)
        return found

    def get_output_embeddings(self) -> None:
        """There is none."""


def network_of_one(weight: list[list[float]]) -> Any:
    """A network whose only layer has this weight."""
    return OneLayer(weight)


def steps_of(params: Params, attached: Attached, num_steps: int, weight_decay: float = 0.0) -> torch.optim.Optimizer:
    """Train on one text of consecutive tokens, as the training loop would."""
    optimizer = torch.optim.AdamW(list(attached.trained.values()), 1e-2, weight_decay=weight_decay)
    for step in range(1, num_steps + 1):
        one_step(params, attached, optimizer, step)
    return optimizer


def one_step(params: Params, attached: Attached, optimizer: torch.optim.Optimizer, step: int) -> None:
    """One step on that text."""
    attached.network(input_ids=INPUT_IDS, labels=INPUT_IDS).loss.backward()
    params.gradients(attached, step)
    optimizer.step()
    params.moved(attached, step)
    optimizer.zero_grad()
