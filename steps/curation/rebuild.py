"""An index made with other settings is made anew, from the batches that accepted refreshes consumed."""

import logging
from collections.abc import Iterator, Mapping
from itertools import islice

import numpy as np

from steps.core.artifacts import Index, Landed, Segment
from steps.core.documents import Document, document_of
from steps.core.index import IndexRow, OpenIndex, write_index
from steps.core.state import Entry, describe_segment, digest_of_segments
from steps.core.texts import Texts
from steps.core.workspace import Workspace
from steps.curation.batch_rules import last_figures, write_figures
from steps.curation.chain import Chain, judge
from steps.curation.landed import Reading, outcomes
from steps.methods.dedup import Dedup
from steps.methods.quality import Quality

logger = logging.getLogger(__name__)

AT_ONCE = 2_000  # documents that are put through the rules at a time


def rebuilt(
    workspace: Workspace, chain: Chain, dedup: Dedup, settings: str, index: Index, history: Mapping[str, Landed]
) -> Index:
    """The same index as one segment, its buckets made by `dedup`; written to `index-rebuilt/`.

    The texts are read again from the batches and edited by the rules of this refresh, but those that learn. An entry
    whose text no batch holds any more keeps its key and content, and has no buckets.

    Raises:
        ValueError: a consumed batch is not on disk.
    """
    entries = dict(OpenIndex([workspace.at(segment.path) for segment in index.segments]).items())
    places = {key: place for place, key in enumerate(entries)}
    bands: np.ndarray | None = None
    found: set[str] = set()
    documents = _texts(workspace, entries, history)
    while batch := list(islice(documents, AT_ONCE)):
        judged = judge(_edits(chain), batch, workspace.path)
        own = dedup.sign(Texts([fate.document.text for fate in judged.fates]))
        bands = np.zeros((len(entries), own.shape[1]), dtype=np.uint64) if bands is None else bands
        bands[[places[document.key] for document in batch]] = own  # a later record of a key wins
        found.update(document.key for document in batch)
    folder = workspace.path / "index-rebuilt"
    rows = [IndexRow(key, entry.task, entry.content_hash) for key, entry in entries.items()]
    write_index(folder, rows, bands, settings)
    write_figures(folder, last_figures([workspace.at(segment.path) for segment in index.segments]))
    logger.warning(
        "the index was made with other settings, so it was made anew: %d documents, %d of them without text",
        len(entries),
        len(entries) - len(found),
    )
    segments: tuple[Segment, ...] = (describe_segment(workspace, folder),)
    return Index(segments=segments, digest=digest_of_segments(segments))


def _texts(workspace: Workspace, entries: Mapping[str, Entry], history: Mapping[str, Landed]) -> Iterator[Document]:
    """The documents of the batches that the index holds with just this content."""
    for landed in history.values():
        for outcome in outcomes(workspace, Reading(), landed, {}):
            entry = None if outcome.reason else entries.get(outcome.row["key"])
            if entry is not None and entry.content_hash == outcome.row["content_hash"]:
                yield document_of(outcome.row, Document)


def _edits(chain: Chain) -> Chain:
    """The rules whose edits can be made again: all but those that learn from a refresh."""
    return Chain(
        repair=chain.repair,
        quality=tuple(rule for rule in chain.quality if type(rule).learn is Quality.learn),
        privacy=chain.privacy,
    )
