"""Adam with decoupled weight decay."""

from typing import ClassVar

from steps.core.method import Cite
from steps.methods.optimizer._shared import TorchAdam


class Adamw(TorchAdam):
    """AdamW, as torch computes it.

    Rule:       m <- b1 m + (1 - b1) g;  v <- b2 v + (1 - b2) g^2;
                theta <- (1 - rate * weight_decay) theta - rate * m_hat / (sqrt(v_hat) + epsilon)
    Units:      rate per optimiser step; decay per step and rate, towards 0, not towards the parent
    Reduces to: Adam at weight_decay = 0 (exact)
    Differs:    all trained parameters decay, norms and embeddings too, unless `decay: matrices`
    """

    sharded: ClassVar[bool] = True
    cite: ClassVar[Cite] = Cite(
        title="Decoupled Weight Decay Regularization", id="arXiv:1711.05101", where="alg. 2", checked="recalled"
    )
