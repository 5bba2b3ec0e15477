"""Train a low-rank change of the linear layers."""

import math
import re
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, field_validator, model_validator

from steps.core.method import Cite
from steps.methods.params import Attached, Params
from steps.methods.params._adapters import adapter_off, adapter_tensors, attach_adapter, keep_adapter, merged
from steps.methods.params._shared import Targets

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

INITS = ("kaiming", "gaussian", "orthogonal", "mica", "olora", "pissa", "pissa_niter_<number>")
REFUSED = {
    "corda": "its adapter cannot be reloaded (peft 0.21 looks for the covariances that it began with)",
    "eva": "it is drawn from activations of the data, which are not seen before training begins",
    "lora_ga": "it is drawn from gradients on the data, which are not seen before training begins; peft 0.21 reloads "
    "it wrongly",
    "loftq": "it corrects a quantised model, and what is learned must be merged into float weights",
    "false": "it does not begin at the parent",
}


class Lora(Params):
    """LoRA: keep W frozen and train a product B·A of low rank beside it.

    Rule:       a layer computes W·x + s·B·A·x, s = alpha / rank; afterwards W becomes W + s·B·A, in float32

    rank_stabilised: s = alpha / √rank. dora: a layer computes m·(W + s·B·A)·x / ‖W + s·B·A‖, the norm over each row and
    without a gradient; m is trained and begins as ‖W‖, one a row.

    Shapes:     W is [out, in], A is [rank, in] (Kaiming-uniform, seeded), B is [out, rank] (zero)

    init: gaussian draws A from a normal distribution; orthogonal draws A and B so that B·A = 0; mica freezes B at the
    last left singular vectors of W and begins A at zero. olora (B·A from the QR decomposition) and pissa (from the
    leading singular vectors; pissa_niter_4: by a randomised SVD) begin at a part of W, taken out of what is frozen.

    Units:      rank in dimensions, alpha without unit
    Reduces to: the parent model when no step is taken: kaiming, gaussian and mica without dora (exact), else (close)
    Differs:    adapts all linear layers by default, the source only attention; no dropout. The adapter of an init that
                takes a part out of W is kept as the difference to where it began, at twice the rank, so that it loads
                on the parent's own weights. The inits that look at data before training are refused
    """

    cite: ClassVar[Cite] = Cite(
        title="LoRA (2106.09685), DoRA (2402.09353), rank-stabilised LoRA (2312.03732), as peft computes them",
        id="arXiv:2106.09685",
        where="LoRA sec. 4.1, eq. 3; peft 0.21: tuners/lora",
        checked="code",
    )

    sharded: ClassVar[bool] = True

    rank: int = Field(16, gt=0, description="dimensions of the change of each layer")
    alpha: float = Field(32.0, gt=0, description="the change is scaled by alpha / rank; no unit")
    target_modules: Targets = Field(
        "all-linear", description="names of the layers to adapt; all-linear: all of them but the output layer"
    )
    init: str = Field("kaiming", description=f"where A and B begin: {', '.join(INITS)}")
    dora: bool = Field(False, description="train the length of each row of W apart from its direction (DoRA)")
    rank_stabilised: bool = Field(False, description="scale by alpha / √rank instead of alpha / rank")

    @field_validator("init")
    @classmethod
    def _can_be_reloaded(cls, init: str) -> str:
        if reason := REFUSED.get(init.lower()):
            raise ValueError(f"lora: init {init!r} is refused: {reason}; there are: {', '.join(INITS)}")
        if init not in INITS[:-1] and not re.fullmatch(r"pissa_niter_[0-9]+", init):
            raise ValueError(f"lora: no init {init!r}; there are: {', '.join(INITS)}")
        return init

    @model_validator(mode="after")
    def _fits_together(self) -> "Lora":
        if self.init == "orthogonal" and self.rank % 2:
            raise ValueError(f"lora: init 'orthogonal' wants an even rank, found {self.rank}")
        if self.init == "mica" and self.dora:
            raise ValueError("lora: init 'mica' and dora are two variants of one layer; leave one out")
        return self

    def attach(self, network: "PreTrainedModel", seed: int, past: "Mapping[str, torch.Tensor]") -> Attached:
        """The network with an adapter on each target; the parent's weights are frozen.

        Raises:
            ValueError: a target names no layer of this network or has too few dimensions, or the init does not know it.
        """
        from peft import LoraConfig

        targets = self.target_modules if isinstance(self.target_modules, str) else list(self.target_modules)
        config = LoraConfig(
            r=self.rank,
            lora_alpha=self.alpha,
            target_modules=targets,
            task_type="CAUSAL_LM",
            init_lora_weights=True if self.init == "kaiming" else self.init,
            use_dora=self.dora,
            use_rslora=self.rank_stabilised,
        )
        if self.init == "olora" and any(type(layer).__name__ == "Conv1D" for layer in network.modules()):
            raise ValueError("lora: init 'olora' wants weights [out, in], this model holds them transposed; take pissa")
        attached = attach_adapter("lora", network, config, seed)
        if not self._takes_from_weights:
            attached.switched_off = partial(adapter_off, attached.network)
        else:
            begun = {name: tensor for name, tensor in adapter_tensors(attached.network).items() if "lora_" in name}
            attached.fixed = {name: tensor.detach().clone() for name, tensor in begun.items()}
            for name, tensor in begun.items():
                if "lora_A" in name and len(tensor) < self.rank:
                    raise ValueError(
                        f"lora: init {self.init!r} at rank {self.rank}: {name} has {len(tensor)} dimensions; lower rank"
                    )
        return attached

    def finish(self, attached: Attached, adapter: Path) -> "PreTrainedModel":
        """Keep A and B in a folder that peft loads, then add the change to the weights, in float32."""
        tensors = adapter_tensors(attached.network)
        changed: dict[str, Any] = {"init_lora_weights": True}  # on reload, no init may touch W again
        if self._takes_from_weights:
            import torch

            for name, begun in attached.fixed.items():
                if "lora_A" in name:
                    tensors[name] = torch.cat([tensors[name], begun], dim=0)
                elif "lora_B" in name:
                    tensors[name] = torch.cat([tensors[name], -begun], dim=1)
            scale = math.sqrt(2) if self.rank_stabilised else 2
            changed |= {"r": 2 * self.rank, "lora_alpha": self.alpha * scale}
        keep_adapter(attached.network, adapter, tensors, changed)
        return merged(attached.network)

    @property
    def _takes_from_weights(self) -> bool:
        return self.init.startswith(("olora", "pissa"))
