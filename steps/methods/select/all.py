"""Keep everything."""

from typing import ClassVar

from steps.core.method import Cite
from steps.methods.select import Choice, Pool, Select


class All(Select):
    """Every document that cleaning kept is trained on.

    Rule:       all documents, each of score 0
    Reduces to: none (it is the limit of the others)
    """

    cite: ClassVar[Cite] = Cite(title="Keep everything that was cleaned", id="ours", where="-", checked="code")

    def choose(self, pool: Pool, seed: int) -> Choice:
        """All of them."""
        number = len(pool.documents)
        tokens = sum(document.num_tokens for document in pool.documents)
        return Choice(
            kept=tuple(range(number)),
            scores=(0.0,) * number,
            told=f"all: kept {number:,} documents, {tokens:,} tokens",
        )
