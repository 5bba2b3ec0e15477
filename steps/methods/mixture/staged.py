"""Specialised text first, then general text with a little of the specialised."""

from typing import ClassVar, Literal

from pydantic import Field

from steps.core.method import Cite
from steps.methods.mixture import Decision, Mixture, Shares, Supply


class Staged(Mixture):
    """Two stages: the first learns the new text, the second replays general text with a small share of the new.

    Rule:       stage one takes `first_part` of the budget and replays `first_replay` of it; stage two takes the rest,
                of which `domain_share` is new text; inside each, tasks share by the tokens that they hold, or equally
    Differs:    the source fine-tunes on whole sets, its second holding 1/256 of the specialised one (recalled); we
                state shares of loss tokens, so that the budget is exact and the share does not depend on the sets
    Reduces to: `fixed` at replay_share = first_replay where first_part = 1 (exact); the tokens of `fixed`, in two
                stages, where domain_share = 1 - first_replay (close: whole tokens are rounded per stage)
    """

    cite: ClassVar[Cite] = Cite(
        title="How Abilities in Large Language Models are Affected by Supervised Fine-tuning Data Composition",
        id="arXiv:2310.05492",
        where="section 3.5, dual-stage mixed fine-tuning (DMT)",
        checked="secondary",
    )

    first_part: float = Field(0.7, gt=0, le=1, description="part of the budget that stage one takes; ours")
    first_replay: float = Field(0.0, ge=0, lt=1, description="share of stage one's loss tokens that is replayed")
    domain_share: float = Field(
        0.1,
        ge=0,
        le=1,
        description="share of stage two's loss tokens that is new text; 0: stage two only replays; ours",
    )
    tasks: Literal["proportional", "equal"] = Field(
        "proportional",
        description="how tasks share new tokens and replayed ones: by the tokens that they hold, or equally",
    )

    def decide(self, supply: Supply, seed: int) -> Decision:
        """Both stages; one, where the first takes the whole budget or there is nothing to replay."""
        new = {task: float(tokens) if self.tasks == "proportional" else 1.0 for task, tokens in supply.new.items()}
        replay = {
            task: float(tokens) if self.tasks == "proportional" else 1.0 for task, tokens in supply.replay.items()
        }

        def stage(share: float, part: float) -> Shares:
            return Shares(replay=share, new_weights=new, replay_weights=replay, part=part)

        if not replay:
            told = "staged: there is nothing to replay, so there is no second stage; land a replay-only task"
            return Decision(stages=(stage(0.0, 1.0),), told=(told,))
        if self.first_part == 1:
            return Decision(stages=(stage(self.first_replay, 1.0),))
        general = 1 - self.domain_share
        told = (
            f"staged: the first {self.first_part:.1%} of the budget replays {self.first_replay:.1%}, the rest replays "
            f"{general:.1%}; of the whole {self.first_part * self.first_replay + (1 - self.first_part) * general:.1%}"
        )
        stages = stage(self.first_replay, self.first_part), stage(general, 1 - self.first_part)
        return Decision(stages=stages, told=(told,))
