"""Drop what a linear model tells most easily from trusted text."""

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
import orjson
from pydantic import Field
from scipy.stats import rankdata

from steps.core import ngrams
from steps.core.method import Cite
from steps.core.shards import write_json
from steps.core.texts import Texts
from steps.methods.quality import Around, Judgement, Quality
from steps.methods.quality._learning import MAX_CHARACTERS, sample_of

RULE, WEIGHTS = "rule.json", "weights.npy"
NUM_FOLDS = 5
TRIES = 16  # salts; where near-equal texts crowd into one fold, another salt spreads them
MIN_FOLD = 0.02  # share of each class that every fold must hold


class Classifier(Quality):
    """Drop the documents of a task that look least like trusted text, by a linear model over hashed words.

    Rule:       logistic regression (AdaGrad, a fixed number of epochs) of trusted text against a sample of the task,
                over which words and pairs of words a document has, hashed into 2^bits buckets. Five models, each
                without the texts of one fold; a document's fold follows from its text, and it is scored by the model
                that has not seen its fold. Dropped, as `classifier`, when its score is below the `quantile` of the
                sample's scores. AUC and accuracy are those of these scores, hence cross-validated.
    Units:      scores are probabilities of being trusted, where both classes weigh the same
    Differs:    fastText learns embeddings of words and averages them; this is their product with the output layer,
                learned directly. DCLM keeps the top tenth of a pool that is far larger than its sample; here the
                sample may be the pool, so nothing is scored by a model that was told it is not trusted. Documents that
                are near-equal (Jaccard similarity J of runs of five words) share a fold with probability J + (1 - J)/5.
    Reduces to: nothing dropped at quantile 0 of a sample that is the task (exact)
    """

    cite: ClassVar[Cite] = Cite(
        title="DataComp-LM: In search of the next generation of training sets for language models",
        id="arXiv:2406.11794",
        where="model-based filtering with fastText",
        checked="recalled",
    )

    trusted: tuple[str, ...] = Field((), description="tasks whose text is trusted; none: the replay buffer")
    quantile: float = Field(0.1, ge=0, lt=1, description="share of the task's sample that lies below the cut, of 1")
    bits: int = Field(20, ge=8, le=24, description="2^bits buckets of words and pairs of words")
    max_words: int = Field(1_000, ge=1, description="first words of a document that count")
    epochs: int = Field(5, ge=1, description="times that every document is seen")
    rate: float = Field(0.5, gt=0, description="step of AdaGrad")
    documents: int = Field(10_000, ge=1, description="documents drawn from each side, at most")
    min_documents: int = Field(200, ge=50, description="documents that each side must have")

    def learn(self, around: Around) -> Mapping[str, float]:
        """Train the five models and set the cut; the figures are AUC, accuracy and what they rest on."""
        good = sample_of(around.trusted(self.trusted), self.documents, around.seed)
        other = sample_of(around.sample(), self.documents, around.seed)
        place = ", ".join(self.trusted) or "the replay buffer"
        for name, own in ((f"trusted documents in {place}", good), ("documents of the task to judge", other)):
            if len(own) < self.min_documents:
                raise ValueError(
                    f"quality/classifier: wanted at least {self.min_documents:,} {name}, found {len(own):,}; name "
                    "tasks in `trusted` that have more, or leave the rule out until there are"
                )
        texts = ngrams.as_bytes(good + other)
        labels = np.array([1] * len(good) + [0] * len(other))
        salt, folds = self._folds(texts, labels)
        features = ngrams.word_features(texts, self.bits, self.max_words)
        weights_KF = np.stack([self._fit(features, labels, folds != fold, around.seed) for fold in range(NUM_FOLDS)])
        scores = _probabilities(ngrams.linear_scores(features.buckets, features.ends, weights_KF, folds))
        np.save(around.folder / WEIGHTS, weights_KF)
        limit = float(np.quantile(scores[labels == 0], self.quantile))
        write_json(around.folder / RULE, {"limit": limit, "salt": salt})
        aucs = [_auc(scores[folds == fold], labels[folds == fold]) for fold in range(NUM_FOLDS)]
        right = (scores > 0.5) == labels
        return {
            "auc": float(np.mean(aucs)),
            "auc_worst_fold": min(aucs),
            "accuracy": float((right[labels == 1].mean() + right[labels == 0].mean()) / 2),
            "trusted_documents": len(good),
            "sample_documents": len(other),
            "limit": limit,
        }

    def judge(self, texts: Texts, folder: Path) -> list[Judgement]:
        """Drop the texts below the cut."""
        rule = orjson.loads((folder / RULE).read_bytes())
        weights_KF = np.load(folder / WEIGHTS, mmap_mode="r")
        flat = ngrams.as_bytes([text[:MAX_CHARACTERS] for text in texts.texts])
        features = ngrams.word_features(flat, self.bits, self.max_words)
        folds = ngrams.folds_of(flat, NUM_FOLDS, rule["salt"], self.max_words)
        scores = _probabilities(ngrams.linear_scores(features.buckets, features.ends, weights_KF, folds))
        limit: float = rule["limit"]
        return [Judgement("classifier" if score < limit else "", found=score, limit=limit) for score in scores.tolist()]

    def _folds(self, texts: ngrams.Bytes, labels: np.ndarray) -> tuple[int, np.ndarray]:
        for salt in range(TRIES):
            folds = ngrams.folds_of(texts, NUM_FOLDS, salt, self.max_words)
            shares = [
                np.bincount(folds[labels == label], minlength=NUM_FOLDS) / (labels == label).sum() for label in (0, 1)
            ]
            if min(share.min() for share in shares) >= MIN_FOLD:
                return salt, folds
        raise ValueError(
            f"quality/classifier: the documents are too alike to be put into {NUM_FOLDS} groups that share none; "
            "remove near-duplicates before, or leave the rule out for this task"
        )

    def _fit(self, features: ngrams.Features, labels: np.ndarray, seen: np.ndarray, seed: int) -> np.ndarray:
        rng = np.random.default_rng(seed)
        order = np.concatenate([rng.permutation(np.flatnonzero(seen)) for _ in range(self.epochs)])
        found: np.ndarray = ngrams.fit_linear(features.buckets, features.ends, labels, order, 1 << self.bits, self.rate)
        return found


def _probabilities(logits: np.ndarray) -> np.ndarray:
    return np.asarray(1 / (1 + np.exp(-np.clip(logits, -500, 500))))


def _auc(scores: np.ndarray, labels: np.ndarray) -> float:
    """The probability that a trusted text scores above another (Mann and Whitney's U, ties half)."""
    ones = int(labels.sum())
    ranks = float(rankdata(scores)[labels == 1].sum())
    return (ranks - ones * (ones + 1) / 2) / (ones * (len(labels) - ones))
