"""Train a low-rank change that stays orthogonal to those of earlier refreshes."""

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from steps.core.method import Cite
from steps.methods.params import Attached, Params
from steps.methods.params._adapters import adapter_off, adapter_tensors, attach_adapter, keep_adapter, merged
from steps.methods.params._shared import Targets

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)


class OrthogonalLora(Params):
    """O-LoRA: a LoRA whose rows of A are pushed away from the rows of every earlier refresh's A.

    Rule:       loss += orthogonal_weight · Σ_layers Σ_ij |A_old A_newᵀ|_ij + size_weight · Σ ‖A_new‖ + ‖B_new‖

    A_old holds the A of all earlier refreshes that used this method, one under the other; only A_new and B_new are
    trained. The second sum is over layers too; ‖·‖ is the root of the sum of squares; squared: true leaves out the
    root, as EasyCL does. The parent's weights already contain the earlier changes (we merge), so that a layer computes
    W·x + Σ_old s·B·A·x + s·B_new·A_new·x as in the source, without holding the old adapters in the network.

    Shapes:     A_old is [ranks of all refreshes, in], A_new [rank, in]; absolute sums grow with layers and refreshes
    Units:      both weights: nats per unit of a sum over all layers, not a mean
    Reduces to: lora at orthogonal_weight = size_weight = 0, and in the first refresh at size_weight = 0 (exact)
    Differs:    the terms are added once per optimiser step; the source adds them to every micro-batch's loss after
                dividing that by the number of micro-batches, so that its weights grow with accumulation. Rows that have
                no zero product any more (ranks of all refreshes ≥ in) are only warned of. No dropout (source: 0.1)
    """

    cite: ClassVar[Cite] = Cite(
        title="Orthogonal Subspace Learning for Language Model Continual Learning",
        id="arXiv:2310.14152",
        where="cmnfriend/O-LoRA at 2a2e620, src/uie_trainer_lora.py: training_step",
        checked="code",
    )

    sharded: ClassVar[bool] = True

    rank: int = Field(8, gt=0, description="dimensions of the change of each layer in this refresh")
    alpha: float = Field(32.0, gt=0, description="the change is scaled by alpha / rank; no unit")
    target_modules: Targets = Field(
        "all-linear", description="names of the layers to adapt; all-linear: all of them but the output layer"
    )
    orthogonal_weight: float = Field(0.5, ge=0, description="of Σ|A_old A_newᵀ|; λ1, its scripts take 0.5 to 5")
    size_weight: float = Field(0.0, ge=0, description="of Σ‖A_new‖ + ‖B_new‖; λ2, its scripts take 0 to 0.3")
    squared: bool = Field(False, description="sum squared norms in the second term, as EasyCL does")

    def attach(self, network: "PreTrainedModel", seed: int, past: "Mapping[str, torch.Tensor]") -> Attached:
        """The network with a new adapter on each target; the rows of the old ones are held beside it.

        Raises:
            ValueError: a target names no layer of this network, or an old adapter is of another model.
        """
        from peft import LoraConfig

        targets = self.target_modules if isinstance(self.target_modules, str) else list(self.target_modules)
        config = LoraConfig(r=self.rank, lora_alpha=self.alpha, target_modules=targets, task_type="CAUSAL_LM")
        if self.orthogonal_weight:  # a recipe keeps its seed: without this A_new would begin where A_old began
            seed += max((len(tensor) for name, tensor in past.items() if name.endswith("/A")), default=0)
        attached = attach_adapter("orthogonal-lora", network, config, seed)
        attached.switched_off = partial(adapter_off, attached.network)
        attached.fixed = {name: tensor.to(network.device) for name, tensor in past.items()}
        full = []
        for name, new in self._factors(attached.trained, "A").items():
            old = past.get(f"{name}/A")
            if old is not None and old.shape[1] != new.shape[1]:
                raise ValueError(
                    f"orthogonal-lora: {name}: wanted old adapters of width {new.shape[1]}, found {old.shape[1]}; "
                    "they are of another model: begin a new line, or train with {method: lora}"
                )
            if old is not None and len(old) + self.rank > old.shape[1]:
                full.append(name)
        if full:
            logger.warning(
                "orthogonal-lora: in %d layers the old ranks leave no room for %d orthogonal rows", len(full), self.rank
            )
        return attached

    def penalty(self, attached: Attached) -> "torch.Tensor | None":
        """The two terms; none where they are nothing."""
        whole = {name: _whole(tensor) for name, tensor in attached.trained.items()}
        found: list[torch.Tensor] = []
        if self.orthogonal_weight:
            for name, new in self._factors(whole, "A").items():
                if (old := attached.fixed.get(f"{name}/A")) is not None:
                    found.append(self.orthogonal_weight * (old.to(new.device) @ new.T).abs().sum())
        if self.size_weight:
            power = 2 if self.squared else 1
            found += [self.size_weight * tensor.norm() ** power for tensor in whole.values()]
        return sum(found[1:], found[0]) if found else None

    def keep(self, attached: Attached) -> "dict[str, torch.Tensor]":
        """A and B of all refreshes, one beside the other; B with its scale, so that B·A is what was added to W."""
        import torch

        kept = dict(attached.fixed)
        for name, new in self._factors(attached.trained, "A").items():
            scaled = self._factors(attached.trained, "B")[name] * (self.alpha / self.rank)
            for key, tensor, side in ((f"{name}/A", new, 0), (f"{name}/B", scaled, 1)):
                old = [attached.fixed[key]] if key in attached.fixed else []
                kept[key] = torch.cat([*old, tensor.detach()], dim=side)
        return kept

    def finish(self, attached: Attached, adapter: Path) -> "PreTrainedModel":
        """Keep the new A and B in a folder that peft loads, then add the change to the weights, in float32."""
        keep_adapter(attached.network, adapter, adapter_tensors(attached.network))
        return merged(attached.network)

    def _factors(self, tensors: "Mapping[str, torch.Tensor]", which: str) -> "dict[str, torch.Tensor]":
        end = f".lora_{which}.default.weight"
        return {
            name.removeprefix("base_model.model.").removesuffix(end): tensor
            for name, tensor in tensors.items()
            if name.endswith(end)
        }


def _whole(tensor: "torch.Tensor") -> "torch.Tensor":
    """A tensor that may be cut over several processes, put together."""
    put_together: torch.Tensor = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
    return put_together
