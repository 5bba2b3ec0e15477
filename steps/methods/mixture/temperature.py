"""Shares that flatten the sizes of the tasks."""

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from steps.core.method import Cite
from steps.methods.mixture import Decision, Mixture, Shares, Supply


class Temperature(Mixture):
    """Each task's weight is its size to the power 1/T, among new and among replayed text.

    Rule:       w_i = n_i^(1/T), n_i the tokens that task i holds; replay takes `replay_share` of the loss tokens
    Reduces to: `fixed` with proportional shares at T = 1 (exact); equal shares as T grows (close)
    """

    cite: ClassVar[Cite] = Cite(
        title="Massively Multilingual Neural Machine Translation in the Wild",
        id="arXiv:1907.05019",
        where="section 4.2, temperature-based sampling",
        checked="recalled",
    )

    temperature: float = Field(2.0, ge=1, description="1: by size; larger: nearer to equal shares; no unit")
    replay_share: float = Field(0.30, ge=0, lt=1, description="share of the loss tokens that is replayed")

    def decide(self, supply: Supply, seed: int) -> Decision:
        """The flattened shares."""

        new, replay = self._flattened(supply.new), self._flattened(supply.replay)
        return Decision(stages=(Shares(replay=self.replay_share, new_weights=new, replay_weights=replay),))

    def _flattened(self, sizes: Mapping[str, int]) -> dict[str, float]:
        return {task: float(tokens) ** (1 / self.temperature) for task, tokens in sizes.items()}
