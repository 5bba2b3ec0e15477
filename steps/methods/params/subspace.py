"""Train the small singular directions of every matrix, orthogonal to the large ones."""

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from steps.core.method import Cite
from steps.methods.params import Attached, Params
from steps.methods.params._shared import Targets, linear_layers

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)


class Subspace(Params):
    """OSFT: keep the largest singular directions of each matrix, train the others, never into the kept ones.

    Rule:       W = U_h S_h V_h + U S V, the first part frozen; r = floor(min(m, n)·preserved_share), at most
                min(m, n) - 1; before a step dU -= U_h (U_h^T dU) and dV -= (dV V_h^T) V_h, after it the same on U and V
    Shapes:     W [m, n], U_h [m, r], V_h [r, n], U [m, k], S [k], V [k, n], r + k = min(m, n)
    Units:      preserved_share is 1 - unfreeze_rank_ratio of training_hub, and effective_rank / full rank of peft
    Reduces to: the parent when no step is taken (close); at preserved_share = 0 nothing is kept, but it is not full
                fine-tuning (none: U, S and V are trained, another parametrisation of the same matrices)
    Differs:    the frozen part is kept as a matrix, W - U S V; the source keeps its factors

    AdamW scales every entry of a projected gradient by itself, so a step leaves the subspace again: that is why U and V
    are projected too. The weight is composed before it is used, 3·m·n·k multiplications with its gradient; two products
    of factors cost 3·N·k·(m + n) for N tokens, more as soon as N > m·n / (m + n), half the width of a square matrix.
    The projections cost 4·k·r·(m + n). Neither grows with N, while the step itself takes 3·N·m·n.
    Memory, in floats: m·n + (m + n)·r frozen, m·n composed for a pass, 4·k·(m + n + 1) trained with AdamW; full
    fine-tuning has 4·m·n. In bfloat16 the product is composed in bfloat16 while training, and released in float32.
    """

    cite: ClassVar[Cite] = Cite(
        title="Sculpting Subspaces: Constrained Full Fine-Tuning in LLMs for Continual Learning",
        id="arXiv:2504.07097",
        where="mini_trainer osft_utils.py, project_gradient_to_ and project_parameter_to_orthogonal_space",
        checked="code",
    )
    cost: ClassVar[str] = (
        "a singular value decomposition of each matrix at the start; (m + n)·r floats of kept directions"
    )

    preserved_share: float = Field(
        0.75, ge=0, le=1, description="share of the singular directions that is kept, the largest; no unit"
    )
    target_modules: Targets = Field(
        "all-linear", description="names of the layers to split; all-linear: all of them but the output layer"
    )
    others: Literal["trained", "frozen"] = Field(
        "trained", description="what becomes of all other parameters: embeddings, norms, biases"
    )

    def attach(self, network: "PreTrainedModel", seed: int, past: "Mapping[str, torch.Tensor]") -> Attached:
        """The network with every target split in two.

        Raises:
            ValueError: a target names no linear layer of this network.
        """
        from steps.methods.params._weights import split_weight

        network.requires_grad_(self.others == "trained")
        for layer in linear_layers(network, self.target_modules, "subspace").values():
            split_weight(layer, self.rank(layer.weight))
        attached = Attached.open(network)
        trained = sum(tensor.numel() for tensor in attached.trained.values())
        logger.info("keeps %.0f %% of the singular directions, trains %d numbers", 100 * self.preserved_share, trained)
        return attached

    def rank(self, weight: "torch.Tensor") -> int:
        """How many directions of a matrix are kept."""
        full = int(min(weight.shape))
        return min(math.floor(full * self.preserved_share), full - 1)

    def gradients(self, attached: Attached, step: int) -> None:
        """Take the kept directions out of the gradient."""
        from steps.methods.params._weights import LowPart, parts_of

        for part in parts_of(attached.network, LowPart).values():
            part.project(part.u.grad, part.v.grad)

    def moved(self, attached: Attached, step: int) -> None:
        """Take them out of what the optimiser made of it."""
        from steps.methods.params._weights import LowPart, parts_of

        for part in parts_of(attached.network, LowPart).values():
            part.project(part.u.data, part.v.data)

    def finish(self, attached: Attached, adapter: Path) -> "PreTrainedModel":
        """The network with the sum in place of its parts; there is no adapter."""
        from steps.methods.params._weights import plain

        network: PreTrainedModel = plain(attached.network)
        return network
