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
