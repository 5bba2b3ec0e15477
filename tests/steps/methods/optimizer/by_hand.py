"""What every optimiser is tried with: one weight, moved by hand or by given gradients."""

from typing import Any

import torch

from steps.methods.optimizer import Optimizer


def stepped(method: Optimizer, *gradients: float, rate: float = 0.1, start: float = 2.0) -> float:
    """One weight after a step of the optimiser on each gradient."""
    weight = torch.nn.Parameter(torch.tensor([start]))
    optimizer = method.make({"weight": weight}, rate)
    for gradient in gradients:
        weight.grad = torch.tensor([gradient])
        optimizer.step()
    return float(weight.detach())


def walked(method: Optimizer, places: list[float], start: float = 0.0) -> tuple[list[float], dict[str, Any]]:
    """Where the method leaves a weight that is put to each place in turn; and what it remembers at the end."""
    trained = {"weight": torch.tensor([start])}
    memory = method.begin(trained)
    found = []
    for step, place in enumerate(places, 1):
        trained["weight"].fill_(place)
        method.moved(trained, memory, step)
        found.append(float(trained["weight"]))
    return [*found, float(method.released(trained, memory)["weight"])], memory
