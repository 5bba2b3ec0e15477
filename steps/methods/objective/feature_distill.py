"""Keep the last hidden states of old text where a teacher has them."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from steps.core.forward import Rows, Seen
from steps.core.method import Cite
from steps.methods.objective import Objective

if TYPE_CHECKING:
    import torch


class FeatureDistill(Objective):
    """The distance of last hidden states to a teacher's, each unit by itself.

    Rule:       weight * 1/(N M) * sum over tokens n and units m of |h_nm - g_nm| (l1) or its square (l2), where g is
                the teacher's state; no gradient goes into g

    Shapes:     states [N, M]: N tokens of the rows that carry loss, M units under the output layer, after the last norm
    Units:      those of the states (l1), or their square (l2); weight without unit, to be tuned on `validation`
    Reduces to: the other objectives alone at weight 0 (exact); 0 where the network says what the teacher says (exact)
    Differs:    GeRe compares with it as a baseline; its form and weight there were not read
    """

    cite: ClassVar[Cite] = Cite(
        title="GeRe: Towards Efficient Anti-Forgetting in Continual Learning of LLM via General Samples Replay",
        id="Qznan/GeRe",
        where="the L1 and L2 feature imitation that its abstract compares with",
        checked="recalled",
    )
    sharded: ClassVar[bool] = True
    hidden: ClassVar[bool] = True
    cost: ClassVar[str] = "its forward pass, without logits, over replayed blocks at each step"

    weight: float = Field(1.0, ge=0, description="of the mean distance; no unit")
    distance: Literal["l1", "l2"] = Field("l2", description="of one unit: its size, or its square")
    rows: Rows = Field("replayed", description="whose tokens: replayed, new, or all")
    teacher: Literal["parent", "slow"] = Field("parent", description="the released parent, or the optimiser's average")

    @property
    def teachers(self) -> tuple[str, ...]:
        """The one that it is told to ask."""
        return (self.teacher,)

    @property
    def needs_replay(self) -> bool:
        """Only if it looks at nothing else."""
        return self.rows == "replayed"

    def loss(self, seen: Seen, memory: "dict[str, torch.Tensor]") -> "torch.Tensor | None":
        """The micro-batch's part of the mean distance."""
        old = seen.teacher(self.teacher, self.rows)
        if old is None:
            return None
        assert old.hidden is not None, "this class sets `hidden`"
        change_NM = seen.hidden_NM[seen.of(self.rows)] - old.hidden
        sizes_NM = change_NM.abs() if self.distance == "l1" else change_NM.square()
        return self.weight * sizes_NM.sum() / (seen.count(self.rows) * old.hidden.shape[1])
