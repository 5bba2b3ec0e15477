"""Train some modules, by name or because they forget most, and freeze the others."""

import logging
import math
import re
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from steps.core.method import Cite
from steps.methods.params import Attached, Params

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

logger = logging.getLogger(__name__)

SENSITIVITY = "sensitivity/"


class Layers(Params):
    """Train the modules that patterns name; of these, if wanted, only those that forget most.

    Rule:       trained = matches one of `train`, none of `freeze`; all else stays as it is, bit for bit
                sensitivity of a module = mean |θ_k - θ_0| / mean |θ_2k - θ_k|, k = window_steps, over its entries

    θ_0 is the parent: its first k steps cross the switch from old to new text, the k steps after them lie within the
    new. `forgetting_prone` measures this during a refresh and, from the next one on, trains only that share of the
    modules matched, the most sensitive; the first refresh trains them all, and so is a module that was never measured.
    A frozen module keeps the sensitivity that it was last measured at.

    Units:      sensitivities are ratios without unit; the schedule moves them all alike, so that their order counts
    Reduces to: full when every module is trained (exact)
    Differs:    k-FPF trains the forgetting-prone modules in short phases on a buffer, again and again; this is a mask
                over whole refreshes, whose mixture replays anyway. Adam's steps are of one size for all parameters, so
                that contrasts are smaller than under the source's SGD. What is trained is held twice for 2k steps
    """

    cite: ClassVar[Cite] = Cite(
        title="Does Continual Learning Equally Forget All Parameters?",
        id="arXiv:2304.04158",
        where="abstract; the ratio of two windows is ours",
        checked="recalled",
    )
    sharded: ClassVar[bool] = True

    train: tuple[str, ...] = Field(
        ("*",), min_length=1, description="patterns of names of modules or parameters; * stands for anything"
    )
    freeze: tuple[str, ...] = Field((), description="patterns of what is not trained although `train` names it")
    forgetting_prone: float | None = Field(
        None, gt=0, le=1, description="share of the modules to train, by the last refreshes' sensitivity; none: all"
    )
    window_steps: int = Field(20, gt=0, description="k, steps of each of the two windows in which modules are measured")

    def attach(self, network: "PreTrainedModel", seed: int, past: "Mapping[str, torch.Tensor]") -> Attached:
        """The network itself, what the patterns or the measured sensitivities name open.

        Raises:
            ValueError: a pattern fits nothing, or nothing is left to train.
        """
        names = [name for name, _ in network.named_parameters()]
        for knob, patterns in (("train", self.train), ("freeze", self.freeze)):
            for pattern in patterns:
                if not any(_fits(name, pattern) for name in names):
                    raise ValueError(f"layers: {knob} {pattern!r} fits nothing{_what_there_is(network, pattern)}")
        open_names = [name for name in names if _fit(name, self.train) and not _fit(name, self.freeze)]
        if not open_names:
            raise ValueError(f"layers: freeze {self.freeze} leaves nothing of train {self.train}; name less in freeze")
        prone = self._prone(open_names, past)
        network.requires_grad_(False)
        for name, parameter in network.named_parameters():
            parameter.requires_grad_(name in open_names and _module(name) in prone)
        attached = Attached.open(network)
        attached.fixed = {name: tensor for name, tensor in past.items() if name.startswith(SENSITIVITY)}
        if self.forgetting_prone is not None:
            attached.memory = {f"before/{name}": it.detach().clone() for name, it in attached.trained.items()}
        return attached

    def moved(self, attached: Attached, step: int) -> None:
        """At the end of each window, how far every module went in it."""
        if not self.forgetting_prone or step not in (self.window_steps, 2 * self.window_steps):
            return
        window = "switch" if step == self.window_steps else "within"
        summed: dict[str, torch.Tensor] = {}
        counted: dict[str, int] = {}
        for name, parameter in attached.trained.items():
            before, module = attached.memory[f"before/{name}"], _module(name)
            gone = (parameter.detach() - before).abs().sum()
            summed[module] = summed[module] + gone if module in summed else gone
            counted[module] = counted.get(module, 0) + parameter.numel()
            if window == "switch":
                before.copy_(parameter.detach())
            else:
                del attached.memory[f"before/{name}"]
        attached.memory |= {f"{window}/{module}": total / counted[module] for module, total in summed.items()}

    def keep(self, attached: Attached) -> "dict[str, torch.Tensor]":
        """The sensitivity of every module: this refresh's, or the last one that was measured."""
        kept = dict(attached.fixed) if self.forgetting_prone else {}
        within = {name.partition("/")[2]: it for name, it in attached.memory.items() if name.startswith("within/")}
        kept |= {SENSITIVITY + name: attached.memory[f"switch/{name}"] / it for name, it in within.items() if it > 0}
        if self.forgetting_prone and not within:
            logger.warning("layers: too few steps to measure which modules forget: wanted %d", 2 * self.window_steps)
        return kept

    def finish(self, attached: Attached, adapter: Path) -> "PreTrainedModel":
        """The network itself; there is no adapter."""
        network: PreTrainedModel = attached.network
        return network

    def _prone(self, names: list[str], past: "Mapping[str, torch.Tensor]") -> set[str]:
        modules = {_module(name) for name in names}
        known = {module: float(past[SENSITIVITY + module]) for module in modules if SENSITIVITY + module in past}
        if self.forgetting_prone is None or not known:
            return modules
        ranked = sorted(known, key=lambda module: (-known[module], module))
        top = ranked[: math.ceil(self.forgetting_prone * len(ranked))]
        logger.info("layers: trains %d of %d measured modules: %s", len(top), len(ranked), ", ".join(sorted(top)))
        return modules - known.keys() | set(top)


def _module(name: str) -> str:
    return name.rpartition(".")[0]


def _fits(name: str, pattern: str) -> bool:
    parts = name.split(".")
    return any(fnmatchcase(".".join(parts[:end]), pattern) for end in range(1, len(parts) + 1))


def _fit(name: str, patterns: Iterable[str]) -> bool:
    return any(_fits(name, pattern) for pattern in patterns)


def _what_there_is(network: "PreTrainedModel", pattern: str) -> str:
    every = dict(network.named_parameters(remove_duplicate=False))
    names = {id(it): name for name, it in network.named_parameters()}
    if tied := [name for name in every if _fits(name, pattern)]:
        return f" of its own: {tied[0]} is {names[id(every[tied[0]])]}; name that"
    kinds = sorted({re.sub(r"\.\d+\.", ".*.", name) for name in names.values()})
    return f"; there are: {', '.join(kinds)}"
