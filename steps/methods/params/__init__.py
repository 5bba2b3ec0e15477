"""Which parameters training moves, and how the result becomes full weights again.

Two verbs around the training loop: `attach` before it, `finish` after it. Weights are float32 in between.
"""

from abc import ABC, abstractmethod
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steps.core.method import Method

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Params(Method, ABC):
    """The slot: `attach` before training, `finish` after it. Exactly the parameters to train require a gradient."""

    @abstractmethod
    def attach(self, network: "PreTrainedModel", seed: int) -> Any:
        """The network to train: the given one, or one wrapped around it; computes the same function as before."""

    @abstractmethod
    def finish(self, network: Any, adapter: Path) -> "PreTrainedModel":
        """The full model with what was learned in its weights; an adapter, if there is one, is kept in its folder."""
