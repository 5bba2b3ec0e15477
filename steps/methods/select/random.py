"""Keep a random part: what every other method is measured against."""

from typing import ClassVar

from steps.core.method import Cite
from steps.methods.select import Choice, Pool
from steps.methods.select._shared import Ranked, noise


class Random(Ranked):
    """Documents in a uniformly random order, until their tokens are full.

    Rule:       score = standard Gumbel noise, independent for each document; the highest are kept
    Units:      scores have none
    Reduces to: `all` at keep_share = 1 (exact)
    """

    cite: ClassVar[Cite] = Cite(title="A uniform sample of documents", id="ours", where="-", checked="code")

    def choose(self, pool: Pool, seed: int) -> Choice:
        """A uniform part."""
        return self.best(pool, noise(len(pool.documents), seed), seed, reason="not drawn", told="")
