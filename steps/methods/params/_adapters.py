"""What the methods built on peft share: an adapter on a network, in a folder, and in the weights."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steps.core.models import writing
from steps.core.shards import write_json
from steps.methods.params import Attached

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig
    from transformers import PreTrainedModel

NO_LAYER = ("arget modules", "types compatible")  # in what peft says when targets name no layer


def attach_adapter(method: str, network: "PreTrainedModel", config: "PeftConfig", seed: int) -> Attached:
    """The network with an adapter, drawn by the seed; the parent's weights are frozen.

    Raises:
        ValueError: a target is a tied weight, none is a layer of this network, or the knobs do not fit it.
    """
    import torch
    from peft import get_peft_model

    _refuse_tied(method, network, config)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            return Attached.open(get_peft_model(network, config).eval())
        except (TypeError, ValueError) as error:
            if not any(words in str(error) for words in NO_LAYER):
                raise ValueError(f"{method}: peft refuses these knobs for this model: {error}") from error
            layers = {name.rsplit(".", 1)[-1] for name, layer in network.named_modules() if hasattr(layer, "weight")}
            targets = getattr(config, "target_modules", None)
            shown = sorted(targets) if isinstance(targets, set) else targets
            raise ValueError(f"{method}: target_modules {shown} fit no layer; there are: {sorted(layers)}") from error


@contextmanager
def adapter_off(network: Any) -> Iterator[None]:
    """The network without its adapter; afterwards it has it again, and what was frozen of it is frozen."""
    learns = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
    with network.disable_adapter():
        yield
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(learns[name])


def adapter_tensors(network: Any) -> "dict[str, torch.Tensor]":
    """What makes the adapter, by the names that peft writes."""
    from peft import get_peft_model_state_dict

    found: dict[str, torch.Tensor] = get_peft_model_state_dict(network, save_embedding_layers=False)
    return found


def keep_adapter(
    network: Any, adapter: Path, tensors: "Mapping[str, torch.Tensor]", changed: Mapping[str, Any] | None = None
) -> None:
    """Write a folder that peft loads on the parent's weights. `changed`: entries of its configuration."""
    from safetensors.torch import save_file

    config = network.peft_config["default"]
    facts = {**config.to_dict(), "base_model_name_or_path": None, "inference_mode": True, **(changed or {})}
    with writing(adapter):
        adapter.mkdir(parents=True, exist_ok=True)
        file = adapter / "adapter_model.safetensors"
        save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, file)
        file.chmod(0o644)
        write_json(adapter / "adapter_config.json", _plain(facts))


def merged(network: Any) -> "PreTrainedModel":
    """The full model, the adapter's change added to its weights in float32."""
    full: PreTrainedModel = network.float().merge_and_unload()
    return full


def _refuse_tied(method: str, network: "PreTrainedModel", config: "PeftConfig") -> None:
    from peft.tuners.tuners_utils import check_target_module_exists

    targets = getattr(config, "target_modules", None)
    if not targets or targets == "all-linear" or not network.config.tie_word_embeddings:
        return
    ends = (network.get_input_embeddings(), network.get_output_embeddings())
    for name, module in network.named_modules():
        if any(module is end for end in ends) and check_target_module_exists(config, name):
            raise ValueError(
                f"{method}: target {name!r} is tied: input embedding and output layer are one weight here, and merging "
                "would change both; leave it out of target_modules"
            )


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one) for key, one in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(value)
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
