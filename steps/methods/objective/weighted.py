"""Predict the next token, where it matters more."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, ClassVar, Literal

from pydantic import Field

from steps.core.blocks import REPLAY
from steps.core.forward import Seen, is_replayed
from steps.core.method import Cite
from steps.methods.objective import Objective, Start

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


class Weighted(Objective):
    """Next-token with weights: by source, and by what a new version of a document changed. It stands for next-token.

    Rule:       1/N * sum over tokens of w * -log p, w = (weight of its source) * (`changed`, where it is marked)
                * (its kind's, if balanced)

    N counts tokens, not weights: what is weighted by 2 pulls twice as hard and nothing else pulls less. Balanced kinds
    weigh N / (2 N_kind) in a step that has both, new and replayed, so that the loss is the mean of two means, as GeRe's
    (CE of the task + CE of its general samples) / 2; in a step of one kind, 1. Tokens are marked by `mix.mark_changes`:
    those that the older version of a document, as the buffer has it, did not say.

    Shapes:     N tokens of a step, however they fall into micro-batches
    Units:      nats per token; weights have none
    Reduces to: next-token at weights of 1 and without balance (exact)
    Differs:    FAIT, whose idea this follows, compares right and wrong programs and lets the weights move; ours are set
    """

    cite: ClassVar[Cite] = Cite(
        title="Token weights by source and by change, after FAIT: Fault-Aware Fine-Tuning for Better Code Generation; "
        "the balance of kinds after Qznan/GeRe, compute_loss",
        id="ours",
        where="this file",
        checked="code",
    )
    sharded: ClassVar[bool] = True
    fits_text: ClassVar[bool] = True
    cost: ClassVar[str] = (
        "none beside the step itself, but where weights differ within a micro-batch the output layer's products, which "
        "are not kept, are made twice"
    )

    sources: Mapping[str, Annotated[float, Field(ge=0)]] = Field(
        default_factory=dict,
        description="weight by source (new/<task>, replay/<task>) or by kind (new, replay); else 1",
    )
    changed: float = Field(1.0, ge=0, description="weight of tokens that are new in this version of a document")
    balance: Literal["none", "kinds"] = Field("none", description="kinds: new and replayed text count alike in a step")

    def begin(self, start: Start) -> "dict[str, torch.Tensor]":
        """Nothing to remember; says what will have no effect."""
        there = {*start.blocks.sources, *(_kind(source) for source in start.blocks.sources)}
        if strangers := sorted(set(self.sources) - there):
            logger.warning(
                "weighted: the training set has no %s, only %s", ", ".join(strangers), ", ".join(start.blocks.sources)
            )
        if self.changed != 1 and "changed" not in start.blocks.streams.kept:
            logger.warning(
                "weighted: changed is %g, but no token is marked: no new document has an older version in the buffer, "
                "or mix.mark_changes is off",
                self.changed,
            )
        return {}

    def loss(self, seen: Seen, memory: "dict[str, torch.Tensor]") -> "torch.Tensor | None":
        """The micro-batch's part of the weighted mean."""
        import torch

        weights_B = [self._of_source(source) * self._of_kind(source, seen) for source in seen.batch.sources]
        weights_N = torch.tensor(weights_B, dtype=torch.float32, device=seen.nats_N.device)[seen.row_N]
        if seen.changed_N is not None:
            weights_N = torch.where(seen.changed_N, self.changed * weights_N, weights_N)
        return (weights_N * seen.nats_N).sum() / seen.facts.num_losses

    def _of_source(self, source: str) -> float:
        return self.sources.get(source, self.sources.get(_kind(source), 1.0))

    def _of_kind(self, source: str, seen: Seen) -> float:
        if self.balance == "none" or not 0 < seen.facts.num_replayed < seen.facts.num_losses:
            return 1.0
        return seen.facts.num_losses / (2 * seen.count("replayed" if is_replayed(source) else "new"))


def _kind(source: str) -> str:
    return REPLAY.rstrip("/") if is_replayed(source) else "new"
