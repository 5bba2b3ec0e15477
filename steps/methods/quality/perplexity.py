"""Drop what reads unlike the text that is trusted, or unlike anything that the parent model has read."""

import math
import os
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import orjson
from pydantic import Field, model_validator

from steps.core import ngrams
from steps.core.likelihood import Encoded, first_context, summed_losses
from steps.core.method import Cite
from steps.core.models import load_model, load_tokenizer, weight_files
from steps.core.shards import write_json
from steps.core.texts import Texts
from steps.core.tokenizer import tokens_of
from steps.methods.quality import FIT, Around, Judgement, Quality
from steps.methods.quality._learning import MAX_CHARACTERS, sample_of

RULE, KEYS, LOGS = "rule.json", "keys.npy", "logs.npy"
MIN_TRUSTED_BYTES = 100_000
CHARACTERS_PER_TOKEN = 32  # no tokenizer of ours reads further than this to fill its tokens


class Perplexity(Quality):
    """Drop documents whose perplexity is above a limit.

    Rule:       perplexity = exp(mean nats), over the tokens of a document under the parent model (its first
                `max_tokens`), or over the bytes of its first 16,384 characters under an n-gram model (interpolated
                Kneser-Ney, see `steps.core.ngrams.train_bytes`) trained on trusted text. A document is dropped, as
                `perplexity`, when its own is above `max_perplexity`, or above the `quantile` of a sample of its task.
                An empty text has no perplexity and is fit.
    Units:      perplexity per token (`model`) or per byte (`n-gram`): the two are not compared with each other.
    Differs:    CCNet cuts Wikipedia-like text into head, middle and tail, by a 5-gram model over SentencePiece pieces
                with KenLM; here the units are bytes, so no word is ever unknown and gibberish is never cheap. Nats
                under the parent are rounded to 1e-4, so that the last bits of a sum decide nothing.
    Reduces to: everything fit, as max_perplexity grows (exact)
    """

    cite: ClassVar[Cite] = Cite(
        title="CCNet: Extracting High Quality Monolingual Datasets from Web Crawl Data",
        id="arXiv:1911.00359",
        where="the filter by perplexity; the smoothing is Kneser and Ney's, interpolated as by Chen and Goodman (1999)",
        checked="recalled",
    )

    under: Literal["model", "n-gram"] = Field("n-gram", description="the parent model, or one of trusted text")
    trusted: tuple[str, ...] = Field((), description="tasks whose text is trusted; none: the replay buffer")
    order: int = Field(5, ge=2, le=ngrams.MAX_ORDER, description="longest n-grams, bytes")
    trusted_documents: int = Field(5_000, ge=1, description="trusted documents drawn for the n-gram model, at most")
    trusted_bytes: int = Field(8 * 2**20, ge=MIN_TRUSTED_BYTES, description="bytes of them counted, at most")
    max_tokens: int = Field(512, ge=1, description="first tokens of a document that the parent model reads")
    max_perplexity: float | None = Field(None, gt=1, description="highest perplexity; give this or quantile")
    quantile: float | None = Field(None, gt=0, lt=1, description="share of the task's sample that stays, share of 1")
    sample_documents: int = Field(2_000, ge=1, description="documents of the task that the quantile is taken over")

    @model_validator(mode="after")
    def _has_one_limit(self) -> "Perplexity":
        if (self.max_perplexity is None) == (self.quantile is None):
            raise ValueError("quality/perplexity: wanted either max_perplexity or quantile; give exactly one")
        return self

    def learn(self, around: Around) -> Mapping[str, float]:
        """Train the n-gram model and set the limit; `judge` is given the model's tables, or the way to the parent."""
        figures: dict[str, float] = {}
        rule: dict[str, str | float] = {}
        if self.under == "n-gram":
            figures = self._train(around)
        else:
            rule = {"model": os.path.relpath(around.model, around.folder), "device": around.device}
        write_json(around.folder / RULE, rule)
        limit = self.max_perplexity
        if self.quantile is not None:
            sample = sample_of(around.sample(), self.sample_documents, around.seed)
            known = [value for value in self._perplexities(sample, around.folder) if value is not None]
            if not known:
                raise ValueError("quality/perplexity: wanted documents to take a quantile over, found none with text")
            limit = float(np.quantile(known, self.quantile))
            figures |= {"sample_documents": len(known), "sample_median": float(np.median(known))}
        assert limit is not None, "one of the two was given"
        write_json(around.folder / RULE, rule | {"limit": limit})
        return figures | {"limit": limit}

    def judge(self, texts: Texts, folder: Path) -> list[Judgement]:
        """Drop the texts above the limit."""
        limit: float = orjson.loads((folder / RULE).read_bytes())["limit"]
        return [
            FIT if value is None else Judgement("perplexity" if value > limit else "", found=value, limit=limit)
            for value in self._perplexities(texts.texts, folder)
        ]

    def _train(self, around: Around) -> dict[str, float]:
        trusted = sample_of(around.trusted(self.trusted), self.trusted_documents, around.seed)
        order = np.random.default_rng(around.seed).permutation(len(trusted))
        num_bytes = sum(len(text.encode("utf-8", "surrogatepass")) for text in trusted)
        if num_bytes < MIN_TRUSTED_BYTES:
            raise ValueError(
                f"quality/perplexity: wanted at least {MIN_TRUSTED_BYTES:,} bytes of trusted text, found {num_bytes:,} "
                f"in {', '.join(self.trusted) or 'the replay buffer'}; name other tasks in `trusted`, or take "
                "`under: model`"
            )
        model = ngrams.train_bytes((trusted[row] for row in order), self.order, self.trusted_bytes)
        np.save(around.folder / KEYS, model.keys)
        np.save(around.folder / LOGS, model.logs)
        return {"trusted_documents": len(trusted), "trusted_bytes": min(num_bytes, self.trusted_bytes)}

    def _perplexities(self, texts: Sequence[str], folder: Path) -> list[float | None]:
        """The perplexity of each text; none where there is nothing to read."""
        rule = orjson.loads((folder / RULE).read_bytes())
        if "model" in rule:
            parent = (folder / rule["model"]).resolve()
            score = _scorer(parent, max(file.stat().st_mtime_ns for file in weight_files(parent)), rule["device"])
            return [score(text, self.max_tokens) for text in texts]
        tables = (np.load(folder / name, mmap_mode="r") for name in (KEYS, LOGS))  # workers share the pages
        flat = ngrams.as_bytes([text[:MAX_CHARACTERS] for text in texts])
        nats_N = ngrams.byte_nats(ngrams.ByteModel(*tables), flat, self.order)
        return [
            math.exp(nats / size) if size else None for nats, size in zip(nats_N, np.diff(flat.offsets), strict=True)
        ]


@lru_cache(maxsize=1)
def _scorer(folder: Path, stamp: int, device: str) -> Callable[[str, int], float | None]:
    """The perplexity of a text under a model, which stays loaded in this process while its folder is the same."""
    network, tokenizer = load_model(folder, device=device), load_tokenizer(folder)
    context = first_context(tokenizer)

    def score(text: str, max_tokens: int) -> float | None:
        tokens = next(tokens_of(tokenizer, [text[: max_tokens * CHARACTERS_PER_TOKEN]]))[:max_tokens]
        if not tokens:
            return None
        alone = [Encoded(name="", tokens=tuple(tokens), num_bytes=0)]  # what stands beside a text decides no bit of it
        return math.exp(round(summed_losses(network, alone, context)[0] / len(tokens), 4))

    return score
