"""AdamW whose moments take a byte each, where bitsandbytes is installed."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from steps.core.method import Cite
from steps.methods.optimizer._shared import Adam

if TYPE_CHECKING:
    import torch


class EightBit(Adam):
    """AdamW with block-wise quantised moments, as bitsandbytes computes it.

    Rule:       adamw's; between steps m and v are stored as 8-bit indices into a dynamic code, each block of 256 scaled
                by its largest absolute value
    Units:      2 bytes of state per parameter and 8 per block, adamw's: 8 per parameter
    Reduces to: adamw where every tensor has fewer than `min_elements` elements: their moments stay 32-bit (close)
    Differs:    the paper keeps the moments of embeddings in 32 bits (its stable embedding layer); here they are
                quantised like the rest
    """

    cite: ClassVar[Cite] = Cite(
        title="8-bit Optimizers via Block-wise Quantization",
        id="arXiv:2110.02861",
        where="bitsandbytes 0.50: optim.AdamW, optim_bits = 8; backends/cpu/ops.py",
        checked="code",
    )
    cost: ClassVar[str] = "the extra `eight-bit`; 2 bytes of moments per parameter in place of 8"

    min_elements: int = Field(4096, gt=0, description="elements of a tensor below which its moments stay 32-bit")
    paged: bool = Field(False, description="moments may move to the CPU's memory when a GPU's is full; not on a CPU")

    def make(self, trained: "Mapping[str, torch.Tensor]", learning_rate: float) -> "torch.optim.Optimizer":
        """bitsandbytes' AdamW.

        Raises:
            ValueError: bitsandbytes is not installed, or paged moments are asked for on a CPU.
        """
        try:
            from bitsandbytes.optim import AdamW
        except ImportError as error:
            raise ValueError(
                "train.optimizer: eight-bit needs bitsandbytes; pip install 'perennial[eight-bit]', or use adamw"
            ) from error
        if self.paged and any(tensor.device.type == "cpu" for tensor in trained.values()):
            raise ValueError("train.optimizer: paged moments wanted a GPU, found a CPU; set paged to false")
        optimizer: torch.optim.Optimizer = AdamW(
            self.groups(trained),
            learning_rate,
            self.betas,
            self.epsilon,
            self.weight_decay,
            optim_bits=8,
            min_8bit_size=self.min_elements,
            is_paged=self.paged,
        )
        return optimizer
