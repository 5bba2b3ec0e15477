"""What a model loses on the validation items, against another one, item by item."""

from pathlib import Path

import numpy as np

from steps.core.artifacts import Validation
from steps.core.documents import Item, read_items
from steps.core.front import Change, Reading
from steps.core.likelihood import batches, encode_items, first_context, summed_losses
from steps.core.models import load_model, load_tokenizer
from steps.core.statistics import Clusters
from steps.core.workspace import Workspace

BATCH_ITEMS = 16  # read at once: memory, not numbers


class Validated:
    """The losses of models on the first validation items of every task; those of the parent are computed once.

    All are read in float32, whatever they are stored in.
    """

    def __init__(self, workspace: Workspace, parent: Path, validation: Validation) -> None:
        self._workspace, self._parent, self._validation = workspace, parent, validation
        self._before: dict[Reading, dict[str, float]] = {}

    def changes(self, model: Path, reading: Reading) -> dict[str, Change]:
        """Each task's paired change of loss against the parent, nats/token.

        Raises:
            ValueError: an item has no tokens, or a model cannot be read.
        """
        items = self._items(reading.num_items)
        if reading not in self._before:
            self._before[reading] = self._losses(self._parent, items, reading)
        before, after = self._before[reading], self._losses(model, items, reading)
        return {
            task: _change([after[item.id] - before[item.id] for item in own], [item.document for item in own])
            for task, own in items.items()
        }

    def _items(self, num_items: int | None) -> dict[str, list[Item]]:
        folder = self._workspace.at(self._validation.path)
        found = {
            task: read_items(folder / task / "validation.jsonl")[:num_items] for task in self._validation.num_items
        }
        return {task: items for task, items in sorted(found.items()) if items}

    def _losses(self, model: Path, items: dict[str, list[Item]], reading: Reading) -> dict[str, float]:
        """Loss of each item, nats/token."""
        every = [item for own in items.values() for item in own]
        tokenizer = load_tokenizer(model)
        texts = encode_items(tokenizer, every, reading.num_tokens, reading.labelled)
        network, context, found = load_model(model, device=self._workspace.device), first_context(tokenizer), {}
        for batch in batches(texts, BATCH_ITEMS):
            for text, nats in zip(batch, summed_losses(network, batch, context), strict=True):
                found[text.name] = nats / text.num_losses
            self._workspace.progress(len(found), len(texts), "items")
        return found


def _change(changes: list[float], documents: list[str]) -> Change:
    clusters = Clusters.of(changes, documents)
    num_documents = len(clusters.sums)
    error = 0.0
    if num_documents > 1:
        error = float(clusters.mean_and_error(np.ones((1, num_documents)))[1][0])
    return Change(mean_nats=float(np.mean(changes)), error_nats=error, num_items=len(changes))
