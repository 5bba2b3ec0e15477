"""Shares that the recipe states."""

from typing import ClassVar, Literal

from pydantic import Field

from steps.core.method import Cite
from steps.methods.mixture import Decision, Mixture, Shares, Supply


class Fixed(Mixture):
    """A fixed share of replay; new text by the tokens that its tasks hold, equally, or by stated weights.

    Rule:       replay takes `replay_share` of the loss tokens, replayed tasks by the tokens that they hold; of the rest
                each train task takes its weight
    Reduces to: training on new text alone at replay_share = 0 (exact)
    """

    cite: ClassVar[Cite] = Cite(
        title="Simple and Scalable Strategies to Continually Pre-train Large Language Models",
        id="arXiv:2403.08763",
        where="replay as a share of the tokens, at an unchanged budget",
        checked="secondary",
    )

    replay_share: float = Field(
        0.30,
        ge=0,
        lt=1,
        description="share of the loss tokens that is replayed; arXiv:2403.08763 finds 0.05 enough for a weak shift "
        "and 0.25 for a strong one where the base's own training text is replayed; it is not at hand, so we err above",
    )
    new: Literal["proportional", "equal"] | dict[str, float] = Field(
        "proportional",
        description="how train tasks share the new tokens: by the tokens that they hold, equally, or {task: weight}",
    )

    def decide(self, supply: Supply, seed: int) -> Decision:
        """The shares that the recipe states.

        Raises:
            ValueError: a weight names a task without new text, or all weights are 0.
        """
        new, replay = self._weights(supply), dict(supply.replay)
        return Decision(stages=(Shares(replay=self.replay_share, new_weights=new, replay_weights=replay),))

    def _weights(self, supply: Supply) -> dict[str, float]:
        if not isinstance(self.new, dict):
            return {task: float(tokens) if self.new == "proportional" else 1.0 for task, tokens in supply.new.items()}
        unknown = sorted(set(self.new) - set(supply.new))
        if unknown or not sum(self.new.values()) > 0 or min(self.new.values()) < 0:
            raise ValueError(
                f"plan.mixture.new: wanted weights of at least 0, one above, for tasks of {sorted(supply.new)}, found "
                f"{self.new}; name tasks that have new text in this refresh"
            )
        return dict(self.new)
