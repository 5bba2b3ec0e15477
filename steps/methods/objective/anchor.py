"""Pull the parameters back to the parent's."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, field_validator

from steps.core.method import Cite
from steps.methods.objective import Objective, Start
from steps.methods.objective._parent import parameters_of

if TYPE_CHECKING:
    import torch

ATTENTION = r"(^|\.)(self_|cross_)?(attn|attention)\."  # a part of the name: not a norm that stands beside it


class Anchor(Objective):
    """The squared distance of the parameters from the parent's, as in L2-SP.

    Rule:       weight / 2 * sum over anchored entries of (theta - theta_parent)^2; `mean`: divided by their number

    Units:      squares of the parameters', per optimiser step; an entry rests where weight * its way from the parent
                equals the loss's gradient (`sum`), so that a good weight shrinks with gradients as models grow
    Reduces to: the other objectives alone at weight 0 (exact); 0 at the parent (exact)
    Differs:    all trained parameters by default (L2-SP leaves out the new output layer, of which there is none here);
                a gradient beside the loss's, so that Adam divides both by the same root (not decoupled)
    """

    cite: ClassVar[Cite] = Cite(
        title="Explicit Inductive Bias for Transfer Learning with Convolutional Networks (L2-SP); attention only after "
        "A Closer Look at Rehearsal-Free Continual Learning, arXiv:2203.17269",
        id="arXiv:1802.01483",
        where="the penalty L2-SP",
        checked="recalled",
    )
    sharded: ClassVar[bool] = True
    cost: ClassVar[str] = "a copy of the anchored parameters, in memory and in every checkpoint; no pass"

    weight: float = Field(0.01, ge=0, description="of the squared distance; no unit")
    parameters: Literal["all", "attention"] | tuple[str, ...] = Field(
        "all", description="which are anchored: all, attention (projections and their biases), or patterns of names"
    )
    over: Literal["sum", "mean"] = Field("sum", description="how the entries are put together")

    @field_validator("parameters")
    @classmethod
    def _are_patterns(cls, given: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for pattern in given if isinstance(given, tuple) else ():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"anchor: parameters {pattern!r} is no regular expression: {error}") from error
        return given

    def begin(self, start: Start) -> "dict[str, torch.Tensor]":
        """The parent's values of what is anchored, by name.

        Raises:
            ValueError: something is trained that is no parameter of the parent, or nothing trained is anchored.
        """
        _, own = parameters_of(start, "anchor")
        found = {name: tensor.detach() for name, tensor in own.items() if self._anchors(name)}
        if not found:
            raise ValueError(
                f"anchor: parameters {self.parameters} fit none of the {len(own)} that are trained, such as "
                f"{', '.join(list(own)[:3])}; change the patterns, or train.params"
            )
        return found

    def penalty(
        self, trained: "Mapping[str, torch.Tensor]", memory: "dict[str, torch.Tensor]"
    ) -> "torch.Tensor | None":
        """The weighted distance."""
        anchored = [name for name in trained if name in memory]  # in an order that a resumed run has too
        distance = sum((trained[name] - memory[name]).square().sum() for name in anchored)
        number = sum(parent.numel() for parent in memory.values()) if self.over == "mean" else 1
        return self.weight / 2 / number * distance

    def _anchors(self, name: str) -> bool:
        if self.parameters == "all":
            return True
        patterns = (ATTENTION,) if self.parameters == "attention" else self.parameters
        return any(re.search(pattern, name) for pattern in patterns)
