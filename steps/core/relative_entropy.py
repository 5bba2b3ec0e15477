"""How far apart what two models say of the next tokens is, with no more copies of their logits than it takes."""

from typing import Any

import torch

CHUNK_BYTES = {"cpu": 1 << 20, "cuda": 1 << 28}  # of logits at a time: a processor's cache, or few starts of kernels


def relative_entropy(
    new_NV: torch.Tensor,
    old_NV: torch.Tensor,
    *,
    temperature: float = 1.0,
    of_new: bool = False,
    chunk_rows: int | None = None,
) -> torch.Tensor:
    """The sum over N tokens of KL(old || new) between softmax(logits / temperature), in nats; V in the vocabulary.

    `of_new`: KL(new || old) instead. Only `new_NV` learns; its gradient is made in the forward pass, `chunk_rows` rows
    at a time, and is all that is kept.
    """
    limit = CHUNK_BYTES.get(new_NV.device.type, CHUNK_BYTES["cuda"])
    rows = chunk_rows or max(1, limit // (4 * new_NV.shape[1]))
    learns = torch.is_grad_enabled() and new_NV.requires_grad
    found: torch.Tensor = _RelativeEntropy.apply(new_NV, old_NV, 1.0 / temperature, of_new, rows, learns)
    return found


class _RelativeEntropy(torch.autograd.Function):  # type: ignore[misc]
    """Its gradient is softmax - softmax, or of the other direction q (log q - log p - KL)."""

    @staticmethod
    def forward(
        ctx: Any, new_NV: torch.Tensor, old_NV: torch.Tensor, scale: float, of_new: bool, rows: int, learns: bool
    ) -> torch.Tensor:
        grad_NV = torch.empty_like(new_NV) if learns else None
        total = new_NV.new_zeros(())
        for first in range(0, len(new_NV), rows):
            new_RV, old_RV = new_NV[first : first + rows] * scale, old_NV[first : first + rows] * scale
            new_RV -= new_RV.logsumexp(dim=1, keepdim=True)
            old_RV -= old_RV.logsumexp(dim=1, keepdim=True)
            gap_RV = new_RV - old_RV
            if of_new:
                q_RV = new_RV.exp_()
                kl_R = (q_RV * gap_RV).sum(dim=1)
                slope_RV = gap_RV.sub_(kl_R[:, None]).mul_(q_RV)
            else:
                p_RV = old_RV.exp_()
                kl_R = -(p_RV * gap_RV).sum(dim=1)
                slope_RV = new_RV.exp_().sub_(p_RV)
            total += kl_R.sum()
            if grad_NV is not None:
                grad_NV[first : first + rows] = slope_RV.mul_(scale)
        ctx.save_for_backward(grad_NV)
        return total

    @staticmethod
    @torch.autograd.function.once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, slope: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Six inputs, one of which learns."""
        (grad_NV,) = ctx.saved_tensors
        return grad_NV * slope, None, None, None, None, None
