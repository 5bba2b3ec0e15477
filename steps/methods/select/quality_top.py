"""Keep what reads most like trusted text."""

from typing import ClassVar

import numpy as np
from pydantic import Field

from steps.core import ngrams
from steps.core.method import Cite
from steps.methods.select import Choice, Pool
from steps.methods.select._shared import MAX_CHARACTERS, Ranked, sample_of


class QualityTop(Ranked):
    """The documents of lowest perplexity under an n-gram model of trusted text: a small corpus for several epochs.

    Rule:       score = -nats of a document's first 16,384 characters / their bytes, under interpolated Kneser-Ney over
                bytes (`steps.core.ngrams.train_bytes`), trained on the buffer's documents of the same task, or on the
                task's validation items where the buffer has none yet. The highest are kept.
    Units:      nats per byte, negated
    Differs:    the paper's recipe is a tenth of the corpus for four epochs, by KenLM over words; here the units are
                bytes, the size is a knob, and the epochs follow from `plan.budget_tokens`, at most `plan.max_epochs`.
                What its KenLM was trained on could not be verified. Copies of a trusted document rank first: let clean
                remove duplicates before.
    Reduces to: `all` at keep_share = 1 (exact); `random` among documents of one text (exact)
    """

    cite: ClassVar[Cite] = Cite(
        title="Efficient Continual Pre-training by Mitigating the Stability Gap",
        id="arXiv:2406.14833",
        where="the second strategy: training on a high-quality sub-corpus only",
        checked="secondary",
    )

    order: int = Field(5, ge=2, le=ngrams.MAX_ORDER, description="longest n-grams, bytes")
    trusted_documents: int = Field(5_000, ge=1, description="trusted texts drawn for the n-gram model, at most")
    trusted_bytes: int = Field(8 * 2**20, ge=1, description="bytes of them counted, at most")

    def choose(self, pool: Pool, seed: int) -> Choice:
        """The documents that cost the fewest nats per byte."""
        texts = [text[:MAX_CHARACTERS] for text in sample_of(pool.trusted(), self.trusted_documents, seed)]
        if not any(texts):
            raise ValueError(
                f"select.new: quality-top wanted trusted text of {pool.task}, found none in the replay buffer or the "
                "task's validation items; raise split.validation_share, or take another method for now"
            )
        shuffled = [texts[row] for row in np.random.default_rng(seed).permutation(len(texts))]
        model = ngrams.train_bytes(shuffled, self.order, self.trusted_bytes)
        flat = ngrams.as_bytes([document.text[:MAX_CHARACTERS] for document in pool.documents])
        nats_N = ngrams.byte_nats(model, flat, self.order)
        scores_N = -nats_N / np.maximum(1, np.diff(flat.offsets))
        size = sum(len(text.encode("utf-8", "surrogatepass")) for text in texts)
        told = f"trusted: {len(texts):,} texts, {min(size, self.trusted_bytes):,} bytes"
        return self.best(pool, scores_N, seed, reason="higher perplexity", told=told)
