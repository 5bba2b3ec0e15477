"""The cross-entropy of tokens from the states under a linear output layer, without all their logits at once."""

from typing import Any

import torch
from torch.nn.functional import linear

CHUNK_BYTES = {"cpu": 1 << 27, "cuda": 1 << 29}  # of logits at a time: below, a chunk's overhead is felt


def is_plain(head: Any) -> bool:
    """Whether a layer computes W·x + b from whole tensors and nobody looks on: no adapter, no hook, no shard."""
    from torch.distributed.tensor import DTensor

    watched = (head._forward_hooks, head._forward_pre_hooks, head._backward_hooks, head._backward_pre_hooks)
    return type(head) is torch.nn.Linear and not any(watched) and not isinstance(head.weight, DTensor)


def linear_cross_entropy(
    hidden_NM: torch.Tensor, head: Any, labels_N: torch.Tensor, dtype: torch.dtype, chunk_rows: int | None = None
) -> torch.Tensor:
    """Cross-entropy in nats of labels under softmax(W·x + b), `[N]` float32; M dimensions, V in the vocabulary.

    Equal to `cross_entropy(head(hidden_NM).float(), labels_N, reduction="none")`, gradients too, up to the order in
    which sums over tokens are taken. `dtype`: of the products, as autocast would choose it.

    Only `chunk_rows` rows of logits exist at a time. Their gradients are made in the forward pass, as if every token
    weighed 1: the states' is scaled, row by row, by what each token weighs in the end; W's only if all weigh the same,
    as they do in a mean; else the backward pass makes it again.
    """
    rows = chunk_rows or max(1, CHUNK_BYTES.get(hidden_NM.device.type, CHUNK_BYTES["cuda"]) // (4 * len(head.weight)))
    learns = torch.is_grad_enabled()
    nats_N: torch.Tensor = _LinearCrossEntropy.apply(hidden_NM, head.weight, head.bias, labels_N, dtype, rows, learns)
    return nats_N


class _LinearCrossEntropy(torch.autograd.Function):  # type: ignore[misc]
    """The states' gradient is kept per token; W's and b's are kept summed, until they are first asked for."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden_NM: torch.Tensor,
        weight_VM: torch.Tensor,
        bias_V: torch.Tensor | None,
        labels_N: torch.Tensor,
        dtype: torch.dtype,
        rows: int,
        learns: bool,
    ) -> torch.Tensor:
        ctx.dtype, ctx.rows = dtype, rows
        wanted = [learns and wants for wants in ctx.needs_input_grad[:3]]
        nats_N, hidden_grad_NM, ctx.weight_grad_VM, ctx.bias_grad_V = _pass(
            hidden_NM, weight_VM, bias_V, labels_N, dtype, rows, wanted, None
        )
        ctx.save_for_backward(hidden_NM, weight_VM, bias_V, labels_N, hidden_grad_NM)
        return nats_N

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, given_N: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        hidden_NM, weight_VM, bias_V, labels_N, grad_NM = ctx.saved_tensors
        hidden_grad_NM = None if grad_NM is None else grad_NM * given_N[:, None].to(grad_NM.dtype)
        weight_grad_VM, bias_grad_V = ctx.weight_grad_VM, ctx.bias_grad_V
        _, *wanted = ctx.needs_input_grad[:3]
        if any(wanted) and len(given_N):
            low, high = given_N.aminmax()
            if weight_grad_VM is not None and bool(low == high):
                weight_grad_VM.mul_(low)
                bias_grad_V = None if bias_grad_V is None else bias_grad_V.mul_(low)
                ctx.weight_grad_VM = ctx.bias_grad_V = None  # they are scaled: a second backward pass makes its own
            else:
                _, _, weight_grad_VM, bias_grad_V = _pass(
                    hidden_NM, weight_VM, bias_V, labels_N, ctx.dtype, ctx.rows, [False, *wanted], given_N
                )
        return hidden_grad_NM, weight_grad_VM, bias_grad_V, None, None, None, None


def _pass(
    hidden_NM: torch.Tensor,
    weight_VM: torch.Tensor,
    bias_V: torch.Tensor | None,
    labels_N: torch.Tensor,
    dtype: torch.dtype,
    rows: int,
    wanted: list[bool],
    weight_N: torch.Tensor | None,
) -> tuple[torch.Tensor, torch.Tensor | None, torch.Tensor | None, torch.Tensor | None]:
    """Nats, and the gradients that are wanted of their sum, each token with its weight."""
    device = hidden_NM.device
    nats_N = torch.empty(len(hidden_NM), dtype=torch.float32, device=device)
    hidden_grad_NM = torch.empty_like(hidden_NM) if wanted[0] else None
    weight_grad_VM: torch.Tensor | None = None
    bias_grad_V: torch.Tensor | None = None
    with torch.autocast(device.type, enabled=False):
        matrix_VM = weight_VM.to(dtype)
        room_CV = torch.empty((min(rows, len(hidden_NM)), len(weight_VM)), dtype=torch.float32, device=device)
        for first in range(0, len(hidden_NM), rows):
            part = slice(first, first + rows)
            states_CM, at_C = hidden_NM[part].to(dtype), labels_N[part]
            odds_CV = room_CV[: len(at_C)]
            if dtype != torch.float32:
                odds_CV.copy_(linear(states_CM, matrix_VM, None if bias_V is None else bias_V.to(dtype)))
            elif bias_V is None:
                torch.mm(states_CM, matrix_VM.T, out=odds_CV)
            else:
                torch.addmm(bias_V, states_CM, matrix_VM.T, out=odds_CV)
            odds_CV -= odds_CV.amax(dim=1, keepdim=True)
            said_C = odds_CV.gather(1, at_C[:, None])[:, 0]
            total_C = odds_CV.exp_().sum(dim=1)  # p = odds / total; its gradient is p, less 1 at the label
            nats_N[part] = total_C.log() - said_C
            if not any(wanted):
                continue
            scale_C1 = ((1 if weight_N is None else weight_N[part]) / total_C)[:, None]
            less_C1 = scale_C1 * total_C[:, None]
            products_CV = odds_CV.to(dtype)
            if hidden_grad_NM is not None:
                hidden_grad_NM[part] = (products_CV @ matrix_VM) * scale_C1 - matrix_VM[at_C] * less_C1
            if wanted[1]:
                scaled_CM = (states_CM * scale_C1).to(dtype)
                if weight_grad_VM is None:
                    weight_grad_VM = (products_CV.T @ scaled_CM).float()
                elif dtype == torch.float32:
                    weight_grad_VM.addmm_(products_CV.T, scaled_CM)
                else:
                    weight_grad_VM += products_CV.T @ scaled_CM
                weight_grad_VM.index_add_(0, at_C, states_CM.float() * less_C1, alpha=-1)
            if wanted[2]:
                shifts_V = (odds_CV * scale_C1).sum(dim=0).index_add_(0, at_C, less_C1[:, 0], alpha=-1)
                bias_grad_V = shifts_V if bias_grad_V is None else bias_grad_V + shifts_V
    return nats_N, hidden_grad_NM, weight_grad_VM, bias_grad_V
