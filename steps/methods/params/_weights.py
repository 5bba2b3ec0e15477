"""Weights that are computed from what is trained, in place of a layer's own; imports torch, so import it late."""

from typing import Any

import torch
from torch.nn.utils.parametrize import register_parametrization, remove_parametrizations


class LowPart(torch.nn.Module):  # type: ignore[misc]
    """A weight [m, n] as its r largest singular parts, frozen, plus the other k, trained: W_high + U·diag(s)·V.

    W_high is kept as W minus the product, so that their sum is W to one rounding. U_high [m, r] and V_high [r, n] span
    what the product must stay orthogonal to.
    """

    u_high: torch.Tensor
    v_high: torch.Tensor

    def __init__(self, weight: torch.Tensor, rank: int) -> None:
        super().__init__()
        u, s, v = torch.linalg.svd(weight.detach().float(), full_matrices=False)
        self.register_buffer("u_high", u[:, :rank].contiguous(), persistent=False)
        self.register_buffer("v_high", v[:rank].contiguous(), persistent=False)
        self.u = torch.nn.Parameter(u[:, rank:].contiguous())
        self.s = torch.nn.Parameter(s[rank:].contiguous())
        self.v = torch.nn.Parameter(v[rank:].contiguous())

    def product(self) -> torch.Tensor:
        """The part that is trained."""
        return (self.u * self.s) @ self.v

    def forward(self, high: torch.Tensor) -> torch.Tensor:
        """The whole weight."""
        return high + self.product()

    def project(self, u: torch.Tensor, v: torch.Tensor) -> None:
        """Take out of two tensors, shaped as U and V, what lies along the kept directions; in place."""
        with torch.no_grad():
            u.sub_(self.u_high @ (self.u_high.T @ u))
            v.sub_((v @ self.v_high.T) @ self.v_high)


class Entries(torch.nn.Module):  # type: ignore[misc]
    """A weight whose entries at `index`, in its flat order, are trained as `values`; all others are frozen.

    Autograd gathers the gradient: only that of the values is ever kept.
    """

    index: torch.Tensor
    touched: torch.Tensor

    def __init__(self, weight: torch.Tensor, index: torch.Tensor) -> None:
        super().__init__()
        self.register_buffer("index", index, persistent=False)
        self.register_buffer("touched", torch.zeros(weight.numel(), dtype=torch.bool), persistent=False)
        self.touched = self.touched.to(weight.device).index_fill_(0, index, True)
        self.values = torch.nn.Parameter(weight.detach().flatten()[index])

    def forward(self, base: torch.Tensor) -> torch.Tensor:
        """The whole weight."""
        return base.flatten().index_copy(0, self.index, self.values).view_as(base)

    def move(self, base: torch.Tensor, index: torch.Tensor, moments: list[torch.Tensor]) -> int:
        """Train other entries from now on, as many: moments of those that stay are kept, new ones begin at zero.

        Returns how many stay.
        """
        with torch.no_grad():
            flat = base.view(-1).index_copy_(0, self.index, self.values)
            place = torch.searchsorted(self.index, index).clamp(max=len(index) - 1)
            stays = self.index[place] == index
            for moment in moments:
                moment.copy_(torch.where(stays, moment[place], 0.0))
            self.values.copy_(flat[index])
            self.index.copy_(index)
            self.touched[index] = True
            return int(stays.sum())


def train_entries(layer: torch.nn.Linear, index: torch.Tensor) -> Entries:
    """Freeze a layer's weight but for some entries, by their sorted places in its flat order."""
    entries = Entries(layer.weight, index)
    layer.weight.requires_grad_(False)
    register_parametrization(layer, "weight", entries)
    return entries


def split_weight(layer: torch.nn.Linear, rank: int) -> None:
    """Freeze the `rank` largest singular parts of a layer's weight and train the others."""
    low = LowPart(layer.weight, rank)
    with torch.no_grad():
        layer.weight.requires_grad_(False).sub_(low.product())
    register_parametrization(layer, "weight", low)


def parts_of(network: Any, kind: type[torch.nn.Module]) -> "dict[str, Any]":
    """What computes weights in a network, by the name of the layer."""
    found = {name: module for name, module in network.named_modules() if isinstance(module, kind)}
    return {name.removesuffix(".parametrizations.weight.0"): module for name, module in found.items()}


def plain(network: Any) -> Any:
    """The network with every computed weight written out, as it was before in all else."""
    for layer in list(network.modules()):
        if torch.nn.utils.parametrize.is_parametrized(layer, "weight"):
            remove_parametrizations(layer, "weight", leave_parametrized=True)
    return network
