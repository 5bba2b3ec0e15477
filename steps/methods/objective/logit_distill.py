"""Keep what the model says of old text: the probabilities that a teacher gives to every next token."""

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, ClassVar, Literal, Self

from pydantic import Field, model_validator

from steps.core.forward import Rows, Seen
from steps.core.method import Cite
from steps.methods.objective import Objective, Start
from steps.methods.objective._cache import cached, kept_and_rest, places

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)


class LogitDistill(Objective):
    """The divergence of the next-token probabilities from a teacher's, softened by a temperature T.

    Rule:       weight * 1/N * sum over tokens n of KL(p_n || q_n), p = softmax(teacher's logits / T),
                q = softmax(logits / T); times T^2 if `squared_temperature`; no gradient goes into p

    At T = 1 it is the plain KL; LwF is weight 0.5, T = 2. With `top_k` the teacher is asked once, before training, and
    its K largest probabilities of each replayed token are kept, the observed token's among them; all others count as
    one event. That is never more than the exact value, and less by r * KL within the others, where r is their softened
    probability: its mean is told as `rest_mass`.

    Shapes:     logits [N, V]: N tokens of the rows that carry loss; a cache is 8 K + 4 bytes per replayed token
    Units:      nats per token, 0 where nothing changed
    Reduces to: the other objectives alone at weight 0, where nothing is computed (exact); the exact value at top_k = V
                (close)
    Differs:    LwF takes the text of the new task and leaves the teacher's entropy in (same gradient, other value)
    """

    cite: ClassVar[Cite] = Cite(
        title="Learning without Forgetting",
        id="aimagelab/mammoth",
        where="models/lwf.py: modified_kl_div, smooth, --alpha, --softmax_temp (the paper is arXiv:1606.09282)",
        checked="code",
    )
    sharded: ClassVar[bool] = True
    cost: ClassVar[str] = (
        "its forward pass over replayed blocks at each step, and all logits of both; with `top_k` one such pass before "
        "training instead, the parent let go, and a cache, also in every checkpoint"
    )

    weight: float = Field(0.5, ge=0, description="of the mean divergence; no unit; LwF's alpha")
    temperature: float = Field(2.0, gt=0, description="by which both sides' logits are divided")
    squared_temperature: bool = Field(False, description="multiply by the temperature's square, as others do")
    rows: Rows = Field("replayed", description="whose tokens: replayed, new, or all")
    teacher: Literal["parent", "slow"] = Field("parent", description="the released parent, or the optimiser's average")
    top_k: int | None = Field(None, gt=0, description="probabilities kept per token, asked once; none: all, every step")

    @model_validator(mode="after")
    def _cache_what_stays(self) -> Self:
        if self.top_k and (self.teacher != "parent" or self.rows != "replayed"):
            raise ValueError(
                f"logit-distill: top_k keeps what the parent says of replayed rows, found teacher {self.teacher} and "
                f"rows {self.rows}; leave out top_k, or set teacher: parent and rows: replayed"
            )
        return self

    @property
    def logits(self) -> bool:
        """All of both sides', unless its part counts nothing."""
        return self.weight > 0

    @property
    def teachers(self) -> tuple[str, ...]:
        """The one that it is told to ask; nobody, if the answers are kept or count nothing."""
        return (self.teacher,) if self.weight and not self.top_k else ()

    @property
    def needs_replay(self) -> bool:
        """Only if it looks at nothing else."""
        return self.rows == "replayed"

    def begin(self, start: Start) -> "dict[str, torch.Tensor]":
        """With `top_k`: what the parent says of every replayed block."""
        if not (self.top_k and self.weight):
            return {}
        memory = cached(start, self.top_k, self.temperature)
        logger.info(
            "logit-distill: %d probabilities of each of %d replayed tokens kept, %.2g of the probability is elsewhere",
            memory["log_p"].shape[1],
            len(memory["log_p"]),
            self.told(memory)["rest_mass"],
        )
        return memory

    def told(self, memory: "Mapping[str, torch.Tensor]") -> dict[str, float]:
        """The mean probability of what was not kept."""
        return {"rest_mass": float(memory["log_rest"].double().exp().mean())} if memory else {}

    def loss(self, seen: Seen, memory: "dict[str, torch.Tensor]") -> "torch.Tensor | None":
        """The micro-batch's part of the mean divergence."""
        from steps.core.relative_entropy import relative_entropy

        meant_N = seen.of(self.rows)
        if not self.weight or not bool(meant_N.any()):
            return None
        new_NV = seen.logits_NV if bool(meant_N.all()) else seen.logits_NV[meant_N]
        if self.top_k:
            at_N = places(memory, seen)
            scaled_NV = new_NV / self.temperature
            kl = divergence_of_kept(scaled_NV, memory["ids"][at_N], memory["log_p"][at_N], memory["log_rest"][at_N])
        else:
            old = seen.teacher(self.teacher, self.rows)
            assert old is not None, "some tokens are meant"
            kl = relative_entropy(new_NV, old.logits, temperature=self.temperature)
        factor = self.temperature**2 if self.squared_temperature else 1.0
        return self.weight * factor * kl / seen.count(self.rows)


def divergence_of_kept(
    new_NV: "torch.Tensor", ids_NK: "torch.Tensor", log_p_NK: "torch.Tensor", log_rest_N: "torch.Tensor"
) -> "torch.Tensor":
    """The sum over tokens of KL(old || new) over what was kept and one event for all else, of probability exp(rest)."""
    log_q_NK, log_q_rest_N = kept_and_rest(new_NV, ids_NK.long())
    inside = (log_p_NK.exp() * (log_p_NK - log_q_NK)).sum()
    if ids_NK.shape[1] == new_NV.shape[1]:
        return inside
    return inside + (log_rest_N.exp() * (log_rest_N - log_q_rest_N)).sum()
