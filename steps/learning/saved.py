"""What a checkpoint holds of a learner, and how it comes back."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from steps.learning.learner import Learner

if TYPE_CHECKING:
    import torch

NUMBERS = {"bool": bool, "int": int, "float": float}  # what optimisers keep beside tensors


def tensors_of(learner: Learner) -> "dict[str, torch.Tensor]":
    """Everything that the next step depends on: what is trained, moments, memories, the random state.

    Whole tensors, however many processes train; all of them take part, the first one gets them.
    """
    import torch

    tensors: dict[str, torch.Tensor] = {"random/cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        tensors["random/cuda"] = torch.cuda.get_rng_state()
    for name, tensor in learner.trained.items():
        tensors[f"parameter/{name}"] = tensor
        for key, value in learner.optimizer.state[tensor].items():
            if isinstance(value, torch.Tensor):
                tensors[f"optimizer/{key}/{name}"] = value
            else:
                kind = type(value).__name__
                assert kind in NUMBERS, f"{key} of the optimiser is of a kind that no checkpoint holds: {kind}"
                tensors[f"optimizer:{kind}/{key}/{name}"] = torch.tensor(value, dtype=torch.float64)
    for owner, memory in learner.memories().items():
        tensors |= {f"{owner}/{key}": tensor for key, tensor in memory.items()}
    return learner.ranks.whole(tensors)


def restore(learner: Learner, tensors: "Mapping[str, torch.Tensor]") -> None:
    """Put a checkpoint's tensors back where `tensors_of` took them from.

    Raises:
        ValueError: a trained parameter is missing, or has another shape.
    """
    import torch

    device = learner.accelerator.device
    for name, parameter in learner.trained.items():
        saved = tensors.get(f"parameter/{name}")
        if saved is None or saved.shape != parameter.shape:
            found = "none" if saved is None else list(saved.shape)
            raise ValueError(
                f"checkpoint: {name} wants shape {list(parameter.shape)}, found {found}; remove the folder"
            )
        with torch.no_grad():
            parameter.copy_(learner.ranks.part(saved, parameter))
    for place, saved in tensors.items():
        owner, _, rest = place.partition("/")
        if owner == "optimizer":
            key, _, name = rest.partition("/")
            parameter = learner.trained[name]
            own = learner.ranks.part(saved, parameter) if saved.shape == parameter.shape else saved
            on_cpu = key == "step" and not learner.optimizer.defaults.get("fused")  # torch wants its counts there
            learner.optimizer.state[parameter][key] = own if on_cpu else own.to(device)
        elif owner.startswith("optimizer:"):
            key, _, name = rest.partition("/")
            learner.optimizer.state[learner.trained[name]][key] = NUMBERS[owner.partition(":")[2]](saved.item())
    for owner, memory in learner.memories().items():
        own = {key.removeprefix(f"{owner}/"): each for key, each in tensors.items() if key.startswith(f"{owner}/")}
        for key, saved in learner.ranks.cut(own, learner.trained).items():
            _put(memory, key, saved.to(device))
    torch.set_rng_state(tensors["random/cpu"])
    if "random/cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random/cuda"])


def _put(memory: "dict[str, torch.Tensor]", key: str, saved: "torch.Tensor") -> None:
    """In place where there is a tensor already: hooks may hold on to it."""
    if key in memory:
        memory[key].copy_(saved)
    else:
        memory[key] = saved
