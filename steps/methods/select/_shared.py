"""What methods share that rank documents and keep the best: how many, and in which order."""

from collections.abc import Sequence

import numpy as np
from pydantic import Field, model_validator

from steps.methods.select import Choice, Pool, Select

MAX_CHARACTERS = 16_384  # of one text: rules that count words or bytes look at its beginning


class Ranked(Select):
    """A method that gives each document a score and keeps the highest, as many as fit into its tokens."""

    keep_share: float | None = Field(None, gt=0, le=1, description="share of the task's tokens; or give keep_tokens")
    keep_tokens: int | None = Field(None, gt=0, description="tokens of each task; or give keep_share")

    @model_validator(mode="after")
    def _has_one_size(self) -> "Ranked":
        if (self.keep_share is None) == (self.keep_tokens is None):
            raise ValueError(
                f"select.new: {self.method_name()} wanted either keep_share or keep_tokens; give exactly one"
            )
        return self

    def best(self, pool: Pool, scores_N: np.ndarray, seed: int, reason: str, told: str) -> Choice:
        """Keep the documents of the highest scores; equal scores stand in a random order.

        They are taken from the top; the document in which the budget ends is taken if at least half of it fits, and
        the first one always.
        """
        tokens_N = np.array([document.num_tokens for document in pool.documents], dtype=np.int64)
        total = int(tokens_N.sum())
        budget = self.keep_tokens if self.keep_share is None else round(self.keep_share * total)
        assert budget is not None, "one of the two was given"
        order_N = np.lexsort((-noise(len(tokens_N), seed), -scores_N))
        ends_N = tokens_N[order_N].cumsum()
        fits_N = 2 * ends_N - tokens_N[order_N] <= 2 * budget
        fits_N[:1] = True
        kept = np.sort(order_N[fits_N])
        numbers = (
            f"kept {len(kept):,} of {len(tokens_N):,} documents, {int(tokens_N[kept].sum()):,} of {total:,} tokens"
        )
        return Choice(
            kept=tuple(kept.tolist()),
            scores=tuple(scores_N.tolist()),
            reason=reason,
            told=f"{self.method_name()}: {numbers}" + (f"; {told}" if told else ""),
        )


def noise(number: int, seed: int) -> np.ndarray:
    """Standard Gumbel noise, float64 [N]: what is ranked by log w + noise is drawn in proportion to w, none twice."""
    return np.random.default_rng(seed).gumbel(size=number)


def sample_of(texts: Sequence[str], size: int, seed: int) -> list[str]:
    """At most `size` texts, drawn uniformly, in their order."""
    if len(texts) <= size:
        return list(texts)
    rows = np.random.default_rng(seed).choice(len(texts), size, replace=False)
    return [texts[row] for row in np.sort(rows)]
