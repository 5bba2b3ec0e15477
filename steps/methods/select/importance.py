"""Keep documents drawn so that, together, they read like the target."""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from steps.core import ngrams
from steps.core.method import Cite
from steps.methods.select import Choice, Pool
from steps.methods.select._shared import MAX_CHARACTERS, Ranked, noise

CHUNK_TEXTS = 1_024  # read at once: memory, not numbers


class Importance(Ranked):
    """Resampling by importance weights over hashed words and pairs of words, towards the task's validation items.

    Rule:       log w(x) = sum over words and pairs of words b of x:  log p(b) - log q(b), with p and q the shares of
                their buckets in the target and in the pool, each count raised by `smoothing`. Kept are the highest
                log w + standard Gumbel noise: a draw without replacement in proportion to w. `length: equal` counts
                a shorter text as if it went on alike up to `max_words` words: log w x (2 max_words - 1) / its number.
    Units:      nats; the score is log w with its noise
    Differs:    the public code normalises counts first and then adds 1e-8; we add `smoothing` to the counts (1, as we
                recall the paper), so that what a small target lacks does not weigh endlessly. It cuts its corpora into
                chunks of like length; we count a document's first `max_words` words and make shorter ones equal, as a
                sum of mostly negative terms favours the short (`length: own` is the plain sum). Words are those of
                `steps.core.ngrams`: runs of letters and digits, lower-cased, and single marks.
    Reduces to: `random` when the target is the pool (exact); `all` at keep_share = 1 (exact)
    """

    cite: ClassVar[Cite] = Cite(
        title="Data Selection for Language Models via Importance Resampling",
        id="arXiv:2302.03169",
        where="public code p-lambda/dsir: data_selection/hashed_ngram_dsir.py and base.py",
        checked="code",
    )

    num_buckets: int = Field(10_000, ge=1, le=2**24, description="buckets of words and pairs of words")
    smoothing: float = Field(1.0, gt=0, description="added to the count of every bucket, occurrences")
    max_words: int = Field(128, ge=1, description="first words of a text that count")
    length: Literal["equal", "own"] = Field("equal", description="of texts below max_words: made equal, or as they are")

    def choose(self, pool: Pool, seed: int) -> Choice:
        """Documents drawn in proportion to their weights."""
        target = pool.target()
        if not any(target):
            raise ValueError(
                f"select.new: importance wanted validation items of {pool.task} as its target, found none; raise "
                "split.validation_share, or take another method"
            )
        logs_N = self.log_weights([document.text for document in pool.documents], target)
        told = f"target: {len(target):,} items; log w of the pool: median {np.median(logs_N):.2f} nats"
        scores_N = logs_N + noise(len(logs_N), seed)
        return self.best(pool, scores_N, seed, reason="not drawn", told=told)

    def log_weights(self, texts: Sequence[str], target: Sequence[str]) -> np.ndarray:
        """The log importance weight of each text, nats, float64 [N]."""
        ratio_B = self._log_shares(target) - self._log_shares(texts)
        logs, counts = [np.zeros(0)], [np.zeros(0)]
        for chunk in self._counted(texts):
            sums = np.concatenate([[0.0], ratio_B[chunk.buckets].cumsum()])
            logs.append(sums[chunk.ends[1:]] - sums[chunk.ends[:-1]])
            counts.append(np.diff(chunk.ends))
        logs_N, counts_N = np.concatenate(logs), np.concatenate(counts)
        if self.length == "equal":
            logs_N *= (2 * self.max_words - 1) / np.maximum(1, counts_N)
        return np.where(counts_N > 0, logs_N, logs_N.min(initial=0.0))  # a text without words is like nothing

    def _log_shares(self, texts: Sequence[str]) -> np.ndarray:
        counts_B = np.full(self.num_buckets, self.smoothing)
        for chunk in self._counted(texts):
            counts_B += np.bincount(chunk.buckets, minlength=self.num_buckets)
        return np.asarray(np.log(counts_B / counts_B.sum()))

    def _counted(self, texts: Sequence[str]) -> Iterator[ngrams.Features]:
        for start in range(0, len(texts), CHUNK_TEXTS):
            flat = ngrams.as_bytes([text[:MAX_CHARACTERS] for text in texts[start : start + CHUNK_TEXTS]])
            yield ngrams.word_occurrences(flat, self.num_buckets, self.max_words)
