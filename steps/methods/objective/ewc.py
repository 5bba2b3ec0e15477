"""Pull each parameter back to the parent's, the harder the more the probability of old text hangs on it."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field

from steps.core.blocks import MicroBatch
from steps.core.forward import outputs_at
from steps.core.method import Cite
from steps.methods.objective import Objective, Start
from steps.methods.objective._parent import parameters_of

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


class Ewc(Objective):
    """Elastic weight consolidation with a diagonal Fisher that is carried from version to version.

    Rule: weight / 2 * sum over entries of F * (theta - theta_parent)^2; F = decay * F of the last version + the mean
    over the replayed tokens, at the parent, of the squared gradient of log p(observed token).

    `token` takes a backward pass per token and is exact. `row` squares the gradient of a block's summed log p and
    divides by the tokens: the same where tokens' gradients do not correlate, as the model's own draws would not; on
    observed text the products between tokens of a block do not vanish, and add to it or take away.

    Units:      F in nats^2 per token and squared parameter: at weight 1 the penalty is about what the replayed tokens'
                mean loss rises by, as far as a diagonal can say that. A published weight means nothing without the
                scale of F, so its mean and maximum are told before the first step (`fisher_mean`, `fisher_max`)
    Reduces to: the other objectives alone at weight 0 (exact); 0 at the parent (exact)
    Differs:    the observed token, not one drawn from the model (the empirical Fisher); one penalty around the latest
                parent with a decayed sum, not one per task; a gradient beside the loss's, divided by Adam's root
    """

    cite: ClassVar[Cite] = Cite(
        title="Overcoming catastrophic forgetting in neural networks; the decayed sum after Progress & Compress, "
        "arXiv:1805.06370",
        id="arXiv:1612.00796",
        where="eq. 3",
        checked="recalled",
    )
    sharded: ClassVar[bool] = True
    cost: ClassVar[str] = (
        "before training a forward and a backward pass of the parent per replayed block (`token`: a backward pass per "
        "token); two copies of what is trained, in memory and in every checkpoint; one in the training state"
    )

    weight: float = Field(100.0, ge=0, description="lambda; no unit; used ones lie between 0.5 and 400, with other F")
    fisher: Literal["row", "token"] = Field(
        "row", description="what is squared: a block's summed gradient, or a token's"
    )
    decay: float = Field(0.9, ge=0, le=1, description="of the last version's sum, per accepted refresh")

    @property
    def needs_replay(self) -> bool:
        """F is taken on replayed tokens."""
        return True

    def begin(self, start: Start) -> "dict[str, torch.Tensor]":
        """`parent/`: its values; `fisher/`: F; `carried/`: the decayed F of what is not trained this time.

        Raises:
            ValueError: something is trained that is no parameter of the parent, or the last F has other shapes.
        """
        import torch

        parent, own = parameters_of(start, "ewc")
        fisher = {name: torch.zeros_like(tensor) for name, tensor in own.items()}
        num_tokens = 0
        for tensor in own.values():
            tensor.requires_grad_(True)
        for batch in start.blocks.replayed(1):
            num_tokens += self._add(fisher, parent, own, batch.to(start.device))
        carried = {name: self.decay * tensor.to(start.device) for name, tensor in start.past.items()}
        for name, tensor in fisher.items():
            before = carried.pop(name, None)
            if before is not None and before.shape != tensor.shape:
                raise ValueError(
                    f"ewc: the last version's Fisher of {name} has shape {list(before.shape)}, the parent's parameter "
                    f"{list(tensor.shape)}; the training state belongs to another model: restore it from its version"
                )
            tensor.div_(num_tokens).add_(0 if before is None else before)
        memory = {f"fisher/{name}": tensor for name, tensor in fisher.items()}
        memory |= {f"parent/{name}": tensor.detach() for name, tensor in own.items()}
        memory |= {f"carried/{name}": tensor for name, tensor in carried.items()}
        scale = self.told(memory)
        logger.info(
            "ewc: lambda %g; Fisher over %d replayed tokens (by %s): mean %.3g, largest %.3g nats^2 per token",
            self.weight,
            num_tokens,
            self.fisher,
            scale["fisher_mean"],
            scale["fisher_max"],
        )
        return memory

    def _add(
        self,
        fisher: "Mapping[str, torch.Tensor]",
        parent: Any,
        own: "Mapping[str, torch.Tensor]",
        batch: MicroBatch,
    ) -> int:
        """Add one block's squares; returns its tokens."""
        import torch

        targets_BT = batch.loss_mask.clone()
        targets_BT[:, 0] = False
        nats_N = torch.nn.functional.cross_entropy(
            outputs_at(parent, batch).logits, batch.input_ids[targets_BT], reduction="none"
        )
        for nats in nats_N if self.fisher == "token" else [nats_N.sum()]:
            slopes = torch.autograd.grad(
                nats, list(own.values()), retain_graph=self.fisher == "token", allow_unused=True
            )
            for tensor, slope in zip(fisher.values(), slopes, strict=True):
                if slope is not None:
                    tensor.add_(slope.square())
        return len(nats_N)

    def told(self, memory: "Mapping[str, torch.Tensor]") -> dict[str, float]:
        """The scale of F over all entries that are trained."""
        found = [tensor for name, tensor in memory.items() if name.startswith("fisher/")]
        total = sum(float(tensor.double().sum()) for tensor in found)
        largest = max(float(tensor.max()) for tensor in found)
        return {"fisher_mean": total / sum(tensor.numel() for tensor in found), "fisher_max": largest}

    def penalty(
        self, trained: "Mapping[str, torch.Tensor]", memory: "dict[str, torch.Tensor]"
    ) -> "torch.Tensor | None":
        """The weighted distance."""
        terms = [
            (memory[f"fisher/{name}"] * (tensor - memory[f"parent/{name}"]).square()).sum()
            for name, tensor in trained.items()
        ]
        return self.weight / 2 * sum(terms[1:], start=terms[0])

    def keep(self, memory: "Mapping[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
        """F, and what is carried on of parameters that were not trained this time."""
        return {
            name.partition("/")[2]: tensor
            for name, tensor in memory.items()
            if name.startswith(("fisher/", "carried/"))
        }
