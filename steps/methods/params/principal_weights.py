"""Train the few entries of every matrix that are large in its low-rank approximation."""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from pydantic import Field

from steps.core.blocks import MicroBatch
from steps.core.method import Cite
from steps.methods.params import Attached, Params
from steps.methods.params._delta import write_delta
from steps.methods.params._shared import Targets, linear_layers

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)
DUE = "due"


class PrincipalWeights(Params):
    """LIFT: train the entries of each matrix that are largest in its approximation of low rank, and nothing else.

    Rule:       the round(share·m·n) largest entries of |U_r S_r V_r^T|, the first r parts of W's singular value
                decomposition, are trained; chosen anew from the weights of that moment every refresh_steps steps
    Shapes:     W [m, n]; what is trained is one flat tensor per matrix, in the order of W.flatten()
    Reduces to: the parent when no step is taken (exact); full training of these matrices at share = 1 (close)
    Differs:    counts a share, the source (m + n)·rank entries; chooses after steps 200, 400, …, the source one step
                earlier; at a choice the moments of entries that stay are kept and new ones begin at zero, as there

    Moments belong to entries, so what else remembers something of each trained entry (an average of the path, an
    anchor) is refused unless the choice is made once (`refresh_steps: 0`). Flat tensors are no matrices to an optimiser
    that decays matrices only.
    Memory, in floats: m·n frozen, m·n composed for a pass, 4·share·m·n trained with AdamW, m·n / 4 for what was ever
    trained. The folder of the adapter holds index and value of these entries: put there, they make the parent's
    weights the trained ones, to the bit in float32 (`_delta.py`).
    """

    cite: ClassVar[Cite] = Cite(
        title="LIFT the Veil for the Truth: Principal Weights Emerge after Rank Reduction for Reasoning-Focused SFT",
        id="arXiv:2506.00772",
        where="zihanghliu/LIFT sparseAdam.py, update_masks; share: abstract",
        checked="code",
    )
    cost: ClassVar[str] = "a singular value decomposition of each matrix at each choice; moments of share·m·n entries"

    rank: Annotated[int, Field(gt=0)] | Annotated[float, Field(gt=0, lt=1)] = Field(
        128, description="singular parts of the approximation; below 1: that share of min(m, n)"
    )
    share: float = Field(0.05, gt=0, le=1, description="share of each matrix's entries that is trained")
    refresh_steps: int = Field(200, ge=0, description="steps from one choice of entries to the next; 0: chosen once")
    target_modules: Targets = Field(
        "all-linear", description="names of the layers to train; all-linear: all of them but the output layer"
    )

    def attach(self, network: "PreTrainedModel", seed: int, past: "Mapping[str, torch.Tensor]") -> Attached:
        """The network with the chosen entries open and all else frozen.

        Raises:
            ValueError: a target names no linear layer of this network.
        """
        import torch

        from steps.methods.params._weights import train_entries

        network.requires_grad_(False)
        memory: dict[str, torch.Tensor] = {}
        layers = linear_layers(network, self.target_modules, "principal-weights")
        if whole := [name for name, layer in layers.items() if self.parts(layer.weight) == min(layer.weight.shape)]:
            logger.warning("rank %s takes nothing away from %d matrices, such as %s", self.rank, len(whole), whole[0])
        for name, layer in layers.items():
            base = layer.weight.detach()
            entries = train_entries(layer, self.principal(base))
            memory |= {f"index/{name}": entries.index, f"touched/{name}": entries.touched}
            if self.refresh_steps:
                memory |= {f"base/{name}": base, DUE: torch.tensor(False)}
        attached = Attached.open(network)
        attached.memory |= memory
        return attached

    def check(self, attached: Attached, memories: "Mapping[str, Mapping[str, torch.Tensor]]") -> None:
        """Refuse what remembers single entries, if they come to mean other weights.

        Raises:
            ValueError: another method does, or the optimiser's moments are not one number for each.
        """
        if not self.refresh_steps:
            return
        names = [owner for owner, memory in memories.items() if owner != "params" and _of_entries(memory, attached)]
        if attached.optimizer and not type(attached.optimizer).__module__.startswith("torch.optim"):
            names.append(f"the optimiser {type(attached.optimizer).__name__}")
        if names:
            raise ValueError(
                f"principal-weights: trains other entries after every {self.refresh_steps} steps, but {names[0]} "
                "remembers something of each that cannot go with them; set params.refresh_steps to 0, or leave it out"
            )

    def parts(self, weight: "torch.Tensor") -> int:
        """How many singular parts the approximation of a matrix has."""
        full = int(min(weight.shape))
        return max(1, round(self.rank * full)) if isinstance(self.rank, float) else min(self.rank, full)

    def principal(self, weight: "torch.Tensor") -> "torch.Tensor":
        """The places of a matrix's principal entries in its flat order, sorted."""
        import torch

        r = self.parts(weight)
        u, s, v = torch.linalg.svd(weight.float(), full_matrices=False)
        size = ((u[:, :r] * s[:r]) @ v[:r]).abs().flatten()
        return size.topk(max(1, round(self.share * len(size)))).indices.sort().values

    def look(self, attached: Attached, batch: MicroBatch) -> None:
        """Choose anew, if it is time: before a step, so that what is trained is the same all through it."""
        from steps.methods.params._weights import Entries, parts_of

        if not self.refresh_steps or not attached.memory[DUE]:
            return
        stay = total = 0
        for name, entries in parts_of(attached.network, Entries).items():
            base = attached.memory[f"base/{name}"]
            state = attached.optimizer.state[entries.values] if attached.optimizer else {}
            moments = [moment for moment in state.values() if getattr(moment, "shape", None) == entries.values.shape]
            stay += entries.move(base, self.principal(entries(base).detach()), moments)
            total += len(entries.index)
        attached.memory[DUE].fill_(False)
        logger.info("%d of %d trained entries are others from here on", total - stay, total)

    def moved(self, attached: Attached, step: int) -> None:
        """Say whether it is time to choose anew."""
        if self.refresh_steps and step % self.refresh_steps == 0:
            attached.memory[DUE].fill_(True)

    def finish(self, attached: Attached, adapter: Path) -> "PreTrainedModel":
        """The full model; the entries that were ever trained are kept in the folder of the adapter."""
        from steps.methods.params._weights import Entries, parts_of, plain

        touched = {f"{name}.weight": entries.touched for name, entries in parts_of(attached.network, Entries).items()}
        network: PreTrainedModel = plain(attached.network)
        write_delta(adapter, {name: (network.get_parameter(name), ever) for name, ever in touched.items()})
        return network


def _of_entries(memory: "Mapping[str, torch.Tensor]", attached: Attached) -> bool:
    return any(key.endswith(name) for key in memory for name in attached.trained)
