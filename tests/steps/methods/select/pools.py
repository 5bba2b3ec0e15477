"""Pools to choose from."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from steps.core.artifacts import Model
from steps.core.lab import Lab
from steps.core.state import CountedDocument
from steps.core.workspace import Workspace
from steps.methods.select import Pool
from tests.builders import build_document

NO_LAB = Lab(Workspace(root=Path(), path=Path(), seed=0), Model(digest="none", path="nowhere", num_parameters=0))
EVEN = {f"text {k}": 10 for k in range(10)}  # ten documents of ten tokens


def pool(
    texts: Mapping[str, int],
    target: Sequence[str] = (),
    general: Sequence[str] = (),
    trusted: Sequence[str] = (),
    lab: Lab = NO_LAB,
) -> Pool:
    """A pool of texts and their lengths in tokens."""
    documents = [
        CountedDocument(**dict(build_document(f"key-{place}", text)), num_tokens=tokens)
        for place, (text, tokens) in enumerate(texts.items())
    ]
    return Pool("topics", documents, lambda: target, lambda: general, lambda: trusted, lab)
