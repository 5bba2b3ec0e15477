"""Keep what the model can learn: neither what it knows nor what it cannot learn."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from steps.core.method import Cite
from steps.methods.select import Choice, Pool
from steps.methods.select._shared import Ranked

NUM_FOLDS = 2


class Learnability(Ranked):
    """The documents whose loss falls most, relatively, when the model is trained a little on others like them.

    Rule:       score = (L_base - L_ref) / L_base, 0 where L_base is 0. The documents are split at random into two
                folds; L_ref of a document is its loss after a brief run of the parent on at most `part_documents`
                random documents of the other fold. The highest are kept.
    Shapes:     losses [N] float64, over each document's first tokens (see `steps.core.lab`)
    Units:      the score is a share of the document's loss, at most 1; negative: the run made it worse
    Differs:    the source's reference is the model tuned on all of the data; here a document is never in the run that
                judges it, so that having been seen does not pass for being learnable. That the difference is divided
                by L_base is recalled.
    Reduces to: `random` at num_steps = 0 (exact); `all` at keep_share = 1 (exact)
    """

    cite: ClassVar[Cite] = Cite(
        title="LoBaSS: Gauging Learnability in Supervised Fine-tuning Data",
        id="arXiv:2310.13008",
        where="the abstract says what is ranked; the score is recalled",
        checked="recalled",
    )

    num_steps: int = Field(40, ge=0, description="steps of each brief run")
    learning_rate: float = Field(1e-4, gt=0, description="of AdamW in the brief runs, constant")
    part_documents: int = Field(256, ge=1, description="documents that a brief run trains on, at most")

    def choose(self, pool: Pool, seed: int) -> Choice:
        """The documents whose loss falls most."""
        if len(pool.documents) < NUM_FOLDS:
            zeros = np.zeros(len(pool.documents))
            return self.best(pool, zeros, seed, reason="less learnable", told="nothing to learn it from")
        texts = [document.text for document in pool.documents]
        rng = np.random.default_rng(seed)
        folds = [np.sort(rows) for rows in np.array_split(rng.permutation(len(texts)), NUM_FOLDS)]
        base_N, after_N = np.zeros(len(texts)), np.zeros(len(texts))
        for judged, others in (folds, folds[::-1]):
            part = rng.permutation(others)[: self.part_documents]
            tuned = pool.lab.tuned([texts[row] for row in part], self.num_steps, self.learning_rate, seed)
            for lab, losses_N in ((pool.lab, base_N), (tuned, after_N)):
                losses_N[judged] = lab.losses([texts[row] for row in judged])  # the same batches: no rounding between
        scores_N = np.divide(base_N - after_N, base_N, out=np.zeros(len(texts)), where=base_N > 0)
        told = f"loss {base_N.mean():.3f} nats/token, {after_N.mean():.3f} after a brief run on others"
        return self.best(pool, scores_N, seed, reason="less learnable", told=told)
