"""Train a low-rank change of the linear layers."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from steps.core.method import Cite
from steps.core.models import writing
from steps.core.shards import write_json
from steps.methods.params import Attached, Params

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel


class Lora(Params):
    """LoRA: keep W frozen and train a product B·A of low rank beside it.

    Rule:       a layer computes W·x + (alpha / rank)·B·A·x; afterwards W becomes W + (alpha / rank)·B·A, in float32

    W is [out, in], A is [rank, in] (Kaiming-uniform, seeded), B is [out, rank] (zero).

    Units:      rank in dimensions, alpha without unit
    Reduces to: the parent model when no step is taken, because B starts at zero (exact)
    Differs:    adapts all linear layers by default, the source only attention; no dropout
    """

    cite: ClassVar[Cite] = Cite(
        title="LoRA: Low-Rank Adaptation of Large Language Models",
        id="arXiv:2106.09685",
        where="sec. 4.1, eq. 3",
        checked="recalled",
    )

    rank: int = Field(16, gt=0, description="dimensions of the change of each layer")
    alpha: float = Field(32.0, gt=0, description="the change is scaled by alpha / rank; no unit")
    target_modules: Literal["all-linear"] | tuple[str, ...] = Field(
        "all-linear", description="names of the layers to adapt; all-linear: all of them but the output layer"
    )

    def attach(self, network: "PreTrainedModel", seed: int, past: "Mapping[str, torch.Tensor]") -> Attached:
        """The network with an adapter on each target; the parent's weights are frozen.

        Raises:
            ValueError: a target names no layer of this network.
        """
        import torch
        from peft import LoraConfig, get_peft_model

        targets = self.target_modules if isinstance(self.target_modules, str) else list(self.target_modules)
        config = LoraConfig(r=self.rank, lora_alpha=self.alpha, target_modules=targets, task_type="CAUSAL_LM")
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            try:
                return Attached.open(get_peft_model(network, config).eval())
            except ValueError as error:
                layers = {
                    name.rsplit(".", 1)[-1] for name, layer in network.named_modules() if hasattr(layer, "weight")
                }
                raise ValueError(f"lora: target_modules {targets} fit no layer; there are: {sorted(layers)}") from error

    def finish(self, attached: Attached, adapter: Path) -> "PreTrainedModel":
        """Keep A and B in a folder that peft loads, then add the change to the weights, in float32."""
        from peft import get_peft_model_state_dict
        from safetensors.torch import save_file

        network = attached.network
        config = network.peft_config["default"]
        facts = {**config.to_dict(), "base_model_name_or_path": None, "inference_mode": True}
        facts = {key: sorted(value) if isinstance(value, set) else value for key, value in facts.items()}
        tensors = get_peft_model_state_dict(network, save_embedding_layers=False)
        with writing(adapter):
            adapter.mkdir(parents=True, exist_ok=True)
            file = adapter / "adapter_model.safetensors"
            save_file({name: tensor.cpu().contiguous() for name, tensor in tensors.items()}, file)
            file.chmod(0o644)
            write_json(adapter / "adapter_config.json", facts)
        full: PreTrainedModel = network.float().merge_and_unload()
        return full
