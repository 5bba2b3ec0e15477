"""Train any other tuner of peft that can be reloaded and merged."""

import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import Field, field_validator

from steps.core.method import Cite
from steps.methods.params import Attached, Params
from steps.methods.params._adapters import adapter_off, adapter_tensors, attach_adapter, keep_adapter, merged

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

PROVEN = (
    *("ADAMSS", "BOFT", "C3A", "DEFT", "DELORA", "FOURIERFT", "FROD", "GLORA", "GRALORA", "HIRA", "HRA", "IA3"),
    *("LN_TUNING", "LOHA", "LOKR", "MISS", "OFT", "PEANUT", "PSOFT", "PVERA", "RANDLORA", "ROAD", "SHIRA"),
    *("SUPERTUNING", "TINYLORA", "VERA", "WAVEFT"),
)
_NO_WEIGHTS = "it learns inputs beside the model, and its weights cannot take them up"
REFUSED = {
    "LORA": "it is the method lora: {method: lora}",
    "OSF": "its gradient hooks let the optimiser's state leak: {method: subspace} also projects what has moved",
    "ADALORA": "its ranks are moved by a call after every step and a term of the loss, which plain training lacks",
    "BEFT": "it trains biases, and causal models mostly have none to merge it into",
    "LILY": "its adapters are routed and cannot be merged into the weights",
    "POLY": "its adapters are mixed by task numbers, which text has not",
    "SHADOW": "it runs a second network beside the model and cannot be merged into the weights",
    "TRAINABLE_TOKENS": "it takes the place of the embedding, from which training reads the size of the vocabulary",
    "UNILORA": "it begins at random vectors beside the parent, not at the parent",
    "VBLORA": "it begins at random vectors beside the parent, not at the parent",
    "XLORA": "it mixes trained adapters by the text and cannot be merged into the weights",
    **dict.fromkeys(("ADAPTION_PROMPT", "CARTRIDGE", "CPT", "MULTITASK_PROMPT_TUNING"), _NO_WEIGHTS),
    **dict.fromkeys(("P_TUNING", "PREFIX_TUNING", "PROMPT_TUNING"), _NO_WEIGHTS),
}
OWN_TARGETS = ("IA3", "LN_TUNING")  # peft knows them by the model's type
BEGIN_AT_PARENT = ("C3A", "FOURIERFT")  # peft draws their weights unless it is told to begin at nothing
SEEDS = ("projection_prng_key", "projection_seed", "random_loc_seed", "random_seed")
FIXED = ("inference_mode", "modules_to_save", "peft_type", "revision", "task_type", "use_asa")
NOTHING = 1e-3  # logits that an adapter may change before its first step


class Peft(Params):
    """Any tuner of peft by its name, with its own knobs: IA3, VERA, SHIRA, BOFT, OFT, HRA, LN_TUNING and others.

    Rule:       the tuner's; afterwards what it learned is merged into the weights, in float32

    Proven, with peft's defaults on a Llama: train, keep, reload in plain peft on the parent's weights, merge; logits
    within 1e-4 after both. ADAMSS, BOFT, C3A, DEFT, DELORA, FOURIERFT, FROD, GLORA, GRALORA, HIRA, HRA, IA3, LN_TUNING,
    LOHA, LOKR, MISS, OFT, PEANUT, PSOFT, PVERA, RANDLORA, ROAD, SHIRA, SUPERTUNING, TINYLORA, VERA, WAVEFT.
    Every other is refused with the reason.

    Units:      the tuner's; see peft's page of it
    Reduces to: the parent model when no step is taken (close)
    Differs:    adapts all linear layers unless target_modules says otherwise (IA3, LN_TUNING: what peft names
                for the model); random masks and projections are drawn from the recipe's seed; no dropout; C3A and
                FOURIERFT begin at the parent, where peft would begin beside it
    """

    cite: ClassVar[Cite] = Cite(
        title="PEFT: parameter-efficient fine-tuning methods",
        id="huggingface/peft",
        where="0.21: mapping.py, tuners/<name>; the tuner's own paper is on peft's page of it",
        checked="code",
    )

    tuner: str = Field(description="peft's name of it, such as IA3; see the docstring for those offered")
    knobs: dict[str, Any] = Field(default_factory=dict, description="fields of the tuner's configuration in peft")

    @field_validator("tuner")
    @classmethod
    def _is_offered(cls, tuner: str) -> str:
        name = tuner.upper()
        if name in REFUSED:
            raise ValueError(f"peft: tuner {name} is refused: {REFUSED[name]}; there are: {', '.join(PROVEN)}")
        if name not in PROVEN:
            raise ValueError(f"peft: no tuner {name!r} that is proven to reload; there are: {', '.join(PROVEN)}")
        return name

    @field_validator("knobs")
    @classmethod
    def _can_be_set(cls, knobs: dict[str, Any]) -> dict[str, Any]:
        if fixed := sorted(set(knobs) & set(FIXED)):
            raise ValueError(f"peft: knob {fixed[0]!r} is not the recipe's to set; leave it out")
        if dropped := [name for name, value in knobs.items() if name.endswith("dropout") and value]:
            raise ValueError(f"peft: knob {dropped[0]!r} does nothing here: training has no dropout; leave it out")
        return knobs

    def attach(self, network: "PreTrainedModel", seed: int, past: "Mapping[str, torch.Tensor]") -> Attached:
        """The network with the tuner's modules; the parent's weights are frozen.

        Raises:
            ValueError: a knob is not the tuner's, does not fit this model, or makes it begin elsewhere than the parent.
        """
        import torch
        from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
        from peft.utils import PeftType

        kind = PEFT_TYPE_TO_CONFIG_MAPPING[PeftType(self.tuner)]
        fields = set(kind.__dataclass_fields__)
        if strangers := sorted(set(self.knobs) - fields):
            known = ", ".join(sorted(fields - set(FIXED)))
            raise ValueError(f"peft: tuner {self.tuner} has no knob {strangers[0]!r}; there are: {known}")
        preset: dict[str, Any] = {name: seed for name in SEEDS if name in fields}
        if self.tuner in BEGIN_AT_PARENT:
            preset["init_weights"] = True
        if self.tuner not in OWN_TARGETS:
            preset["target_modules"] = "all-linear"
        torch.sparse.check_sparse_tensor_invariants.disable()  # as it is, said aloud
        expected = _probe(network)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of kernels that are not there, of layers it does not know
            try:
                config = kind(task_type="CAUSAL_LM", **(preset | self.knobs))
            except (TypeError, ValueError) as error:
                raise ValueError(f"peft: tuner {self.tuner} refuses its knobs {self.knobs}: {error}") from error
            attached = attach_adapter(f"peft: tuner {self.tuner}", network, config, seed)
        if (gap := float((_probe(attached.network) - expected).abs().max())) > NOTHING:
            raise ValueError(
                f"peft: tuner {self.tuner} with {self.knobs} changes logits by {gap:.2g} before the first step, wanted "
                f"at most {NOTHING:g}; set its init_weights to what begins at nothing"
            )
        attached.switched_off = partial(adapter_off, attached.network)
        return attached

    def finish(self, attached: Attached, adapter: Path) -> "PreTrainedModel":
        """Keep the tuner's tensors in a folder that peft loads, then merge them into the weights, in float32."""
        keep_adapter(attached.network, adapter, adapter_tensors(attached.network))
        return merged(attached.network)


def _probe(network: Any) -> "torch.Tensor":
    import torch

    num_tokens = min(16, network.get_input_embeddings().num_embeddings)
    with torch.no_grad():
        found: torch.Tensor = network(input_ids=torch.arange(num_tokens, device=network.device)[None]).logits
    return found.float()
