"""Hold what the parent's last hidden states say of old text: below its threshold, above it, or between."""

from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field

from steps.core.forward import Seen
from steps.core.method import Cite
from steps.methods.objective import Objective, Start

if TYPE_CHECKING:
    import torch

TINY = 1e-8  # Qznan/GeRe gere_trainer.py: added to the number of non-zero elements


class ThresholdMargin(Objective):
    """GeRe's threshold-based margin on the last hidden states of replayed tokens.

    Rule: with low, high = mean -+ deviations * std of the parent's states h, per unit, over the replayed tokens, and p
    the state in training: where h <= low, relu(p - low); where h >= high, relu(high - p); between,
    relu(p - high) + relu(low - p). The term is weight * the mean over elements that are not zero,
    sum / (count + 1e-8). `dynamic`: weight = cross-entropy / margin, without a gradient; 0 where the margin is 0.

    Shapes:     states [N, M]: N replayed tokens that carry loss, M units under the output layer, after the last norm
    Units:      margin in those of the states; dynamic: nats per token
    Reduces to: the other objectives alone at weight 0 (exact); 0 at step 1, if training starts at the parent (exact)
    Differs:    the mean is taken per block, and blocks are averaged by their replayed tokens, so that micro-batches do
                not matter (the source: per micro-batch); `dynamic` takes the cross-entropy of the same block (the
                source: of all of the micro-batch); states are those before tokens that carry loss, computed on the way
                (the source: of all tokens, stored); sums of the thresholds are float64, all replay shares them
    """

    cite: ClassVar[Cite] = Cite(
        title="GeRe: Towards Efficient Anti-Forgetting in Continual Learning of LLM via General Samples Replay",
        id="Qznan/GeRe",
        where="gere/gere_trainer.py: on_train_begin, compute_gere_loss, compute_loss",
        checked="code",
    )
    sharded: ClassVar[bool] = True
    hidden: ClassVar[bool] = True
    cost: ClassVar[str] = (
        "its forward pass over replayed blocks, without logits, once before training and again at each step"
    )

    weight: float | Literal["dynamic"] = Field(100.0, description="of the margin; no unit, or `dynamic`")
    deviations: float = Field(1.0, gt=0, description="from the mean to a threshold, in standard deviations")

    @property
    def teachers(self) -> tuple[str, ...]:
        """The parent."""
        return ("parent",)

    @property
    def needs_replay(self) -> bool:
        """Thresholds and margin are those of replayed tokens."""
        return True

    def begin(self, start: Start) -> "dict[str, torch.Tensor]":
        """The two thresholds of every unit."""
        import torch

        sums, num_tokens = torch.zeros(2, 1, dtype=torch.float64, device=start.device), 0
        for batch in start.blocks.replayed(start.micro_batch_blocks):
            states_NM = start.teachers["parent"].outputs(batch.to(start.device)).hidden
            assert states_NM is not None, "this class sets `hidden`"
            wide_NM = states_NM.double()
            sums = sums + torch.stack([wide_NM.sum(0), wide_NM.square().sum(0)])
            num_tokens += len(wide_NM)
        mean_M, square_M = sums / num_tokens
        reach_M = self.deviations * (square_M - mean_M.square()).clamp(min=0).sqrt()
        return {"low": (mean_M - reach_M).float(), "high": (mean_M + reach_M).float()}

    def loss(self, seen: Seen, memory: "dict[str, torch.Tensor]") -> "torch.Tensor | None":
        """The micro-batch's part of the weighted margin."""
        import torch

        old = seen.teacher("parent", "replayed")
        if old is None:
            return None
        assert old.hidden is not None, "this class sets `hidden`"
        replayed_N = seen.of("replayed")
        margin_NM = margins(seen.hidden_NM[replayed_N], old.hidden, memory["low"], memory["high"])
        row_N, zeros_B = seen.row_N[replayed_N], torch.zeros(len(seen.batch.sources), device=margin_NM.device)
        sums_B = zeros_B.index_add(0, row_N, margin_NM.sum(dim=1))
        counts_B = zeros_B.index_add(0, row_N, (margin_NM != 0).sum(dim=1).float())
        tokens_B = zeros_B.index_add(0, row_N, torch.ones_like(row_N, dtype=torch.float32))
        means_B = sums_B / (counts_B + TINY)
        if self.weight == "dynamic":
            nats_B = zeros_B.index_add(0, row_N, seen.nats_N.detach()[replayed_N]) / tokens_B.clamp(min=1)
            fixed_B = means_B.detach()
            means_B = means_B * torch.where(fixed_B > 0, nats_B / fixed_B.clamp(min=TINY), 0.0)
        else:
            means_B = means_B * self.weight
        return (means_B * tokens_B).sum() / seen.count("replayed")


def margins(
    new_NM: "torch.Tensor", old_NM: "torch.Tensor", low_M: "torch.Tensor", high_M: "torch.Tensor"
) -> "torch.Tensor":
    """How far each state has left the side of the thresholds on which the old one lies, `[N, M]`."""
    import torch

    over_NM, under_NM = torch.relu(new_NM - high_M), torch.relu(low_M - new_NM)
    between_NM = over_NM + under_NM
    below_NM, above_NM = torch.relu(new_NM - low_M), torch.relu(high_M - new_NM)
    return torch.where(old_NM <= low_M, below_NM, torch.where(old_NM >= high_M, above_NM, between_NM))
