"""What the parent says of replayed tokens, kept: the K largest probabilities of each, and the rest as one."""

from typing import TYPE_CHECKING

from steps.core.forward import Seen
from steps.methods.objective import Start

if TYPE_CHECKING:
    import torch


def cached(start: Start, top_k: int, temperature: float) -> "dict[str, torch.Tensor]":
    """For R replayed tokens: `ids` int32 [R, K], `log_p` [R, K], `log_rest` [R]; `starts`: where a block's begin.

    Raises:
        ValueError: more is asked for than the vocabulary has.
    """
    import torch

    ids, log_p, log_rest = [], [], []
    num_blocks = max(num_blocks for num_blocks, _ in start.blocks.streams.shapes())
    starts_SB = torch.full((len(start.blocks.sources), num_blocks), -1, dtype=torch.int64)
    filled = 0
    for whole in start.blocks.replayed(start.micro_batch_blocks):
        batch = whole.to(start.device)
        said_NV = start.teachers["parent"].outputs(batch).logits / temperature
        if top_k > said_NV.shape[1]:
            raise ValueError(
                f"logit-distill: wanted top_k up to the vocabulary, {said_NV.shape[1]:,}, found {top_k:,}; lower it"
            )
        targets_BT = batch.loss_mask.clone()
        targets_BT[:, 0] = False
        observed_N1 = batch.input_ids[targets_BT][:, None]
        ids_NK = said_NV.scatter(1, observed_N1, torch.inf).topk(top_k, dim=1).indices
        log_p_NK, log_rest_N = kept_and_rest(said_NV, ids_NK)
        for (source, block, _), num_losses in zip(batch.draws, targets_BT.sum(dim=1).tolist(), strict=True):
            starts_SB[source, block] = filled
            filled += num_losses
        ids.append(ids_NK.int())
        log_p.append(log_p_NK)
        log_rest.append(log_rest_N)
    kept = {"ids": torch.cat(ids), "log_p": torch.cat(log_p), "log_rest": torch.cat(log_rest)}
    return kept | {"starts": starts_SB.to(start.device)}


def kept_and_rest(said_NV: "torch.Tensor", ids_NK: "torch.Tensor") -> "tuple[torch.Tensor, torch.Tensor]":
    """Log-probabilities `[N, K]` of some tokens, and `[N]` of all others together."""
    import torch

    total_N = said_NV.logsumexp(dim=1)
    kept_NK = said_NV.gather(1, ids_NK) - total_N[:, None]
    if ids_NK.shape[1] == said_NV.shape[1]:
        return kept_NK, torch.full_like(total_N, -torch.inf)
    return kept_NK, said_NV.scatter(1, ids_NK, -torch.inf).logsumexp(dim=1) - total_N


def places(memory: "dict[str, torch.Tensor]", seen: Seen) -> "torch.Tensor":
    """Where the replayed tokens of a micro-batch stand in the cache, in their order."""
    import torch

    counts_B = torch.bincount(seen.row_N[seen.replayed_N], minlength=len(seen.batch.draws)).tolist()
    found = []
    for (source, block, first), count in zip(seen.batch.draws, counts_B, strict=True):
        if count:
            begin = int(memory["starts"][source, block]) + first
            found.append(torch.arange(begin, begin + count, device=seen.row_N.device))
    return torch.cat(found)
