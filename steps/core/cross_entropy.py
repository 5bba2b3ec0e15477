"""The cross-entropy of tokens from the states under a linear output layer, without all their logits at once."""

from typing import Any

import torch
from torch.nn.functional import linear

CHUNK_BYTES = {"cpu": 1 << 26, "cuda": 1 << 29}  # of logits at a time: below, a chunk's overhead is felt


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
        if any(wanted):
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
    nats_N = torch.empty(len(hidden_NM), dtype=torch.float32, device=hidden_NM.device)
    hidden_grad_NM = torch.empty_like(hidden_NM) if wanted[0] else None
    weight_grad_VM = torch.zeros_like(weight_VM, dtype=torch.float32) if wanted[1] else None
    bias_grad_V = None if bias_V is None or not wanted[2] else torch.zeros_like(bias_V, dtype=torch.float32)
    with torch.autocast(hidden_NM.device.type, enabled=False):
        matrix_VM = weight_VM.to(dtype)
        shift_V = None if bias_V is None else bias_V.to(dtype)
        for first in range(0, len(hidden_NM), rows):
            part = slice(first, first + rows)
            states_CM, at_C1 = hidden_NM[part].to(dtype), labels_N[part, None]
            logs_CV = torch.log_softmax(linear(states_CM, matrix_VM, shift_V).float(), dim=1)
            nats_N[part] = -logs_CV.gather(1, at_C1)[:, 0]
            if not any(wanted):
                continue
            grad_CV = logs_CV.exp_()
            grad_CV.scatter_add_(1, at_C1, torch.full_like(at_C1, -1, dtype=torch.float32))
            if weight_N is not None:
                grad_CV *= weight_N[part, None]
            if bias_grad_V is not None:
                bias_grad_V += grad_CV.sum(dim=0)
            grad_CV = grad_CV.to(dtype)
            if hidden_grad_NM is not None:
                hidden_grad_NM[part] = grad_CV @ matrix_VM
            if weight_grad_VM is not None:
                if dtype == torch.float32:
                    weight_grad_VM.addmm_(grad_CV.T, states_CM)
                else:
                    weight_grad_VM += grad_CV.T @ states_CM
    return nats_N, hidden_grad_NM, weight_grad_VM, bias_grad_V
