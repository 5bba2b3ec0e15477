"""`perennial forget`: what is to be done, and the doing of it, step by step, with a journal for a crash.

Every step finds what is left of its work by itself, so a deletion that was cut off is done again from its first step.
Between any two steps the workspace is whole: what names a thing is rewritten after its new form is there, and its old
form goes last.
"""

import logging
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from pipelines.edge.forget.batches import check_batches, rewrite_batches
from pipelines.edge.forget.objects import point_anew, remove_objects
from pipelines.edge.forget.places import JOURNAL, clear_stages, scrub_databases, scrub_hidden, scrub_ledger
from pipelines.edge.forget.registered import Touched, new_identities, rewrite_versions, scrub_runs, touched
from pipelines.edge.forget.search import Hit, find
from pipelines.edge.forget.segments import remove_segments, rewrite_segments
from pipelines.edge.forget.target import Target
from pipelines.edge.forget.tombstones import bury, hash_of, read_tombstones
from pipelines.edge.home import Home, who
from pipelines.edge.registry import Registry
from pipelines.edge.session import Progress
from steps.core.artifacts import Frozen
from steps.core.documents import content_hash
from steps.core.manifest import Tombstone
from steps.core.shards import write_atomic

logger = logging.getLogger(__name__)
STEPS = ("landing", "segments", "versions", "stages", "records", "cache and remotes", "pointers")
WEIGHTS = (
    "weights are another matter: a model that trained on a document may still know it; to retrain from a version "
    "before it, or to unlearn it, is a decision of its own"
)
BACKUPS = "backups are not touched: after restoring one from before, run the same command again"
SOURCES = "where it came from is not touched: an inbox, a site; if it comes again it is left out"
GIT = "older Git revisions of *.dvc and dvc.lock name objects that are gone"


class Plan(Frozen):
    """What a deletion would do; nothing is changed yet."""

    target: Target
    hits: tuple[Hit, ...]
    near: tuple[Hit, ...] = Field(description="what says nearly the same and stays")
    versions: tuple[Touched, ...]
    whole_files: bool = False


class _Journal(Frozen):
    """A deletion under way, `.perennial/forget.json`: gone once it is done."""

    plan: Plan
    tombstones: tuple[Tombstone, ...]
    moved: dict[str, str] = Field(default_factory=dict, description="new digests of segments by their old names")
    digests: dict[str, str] = Field(default_factory=dict, description="new digests of versions by their old ones")
    local: bool = Field(False, description="nothing is left to do but on the remotes")


class Done(Frozen):
    """What a deletion did."""

    documents: int
    batches: tuple[str, ...] = ()
    segments: int = 0
    stages: tuple[str, ...] = ()
    records: int = 0
    objects: dict[str, int] = Field(default_factory=dict, description="removed from DVC's cache and remotes")
    versions: tuple[Touched, ...] = ()
    notes: tuple[str, ...] = (WEIGHTS, BACKUPS, GIT, SOURCES)


def plan(
    home: Home, keys: Sequence[str], texts: Sequence[str], *, near: bool = False, whole_files: bool = False
) -> Plan:
    """Find what a deletion would remove, and which versions have to do with it.

    Raises:
        ValueError: nothing here is one of the documents, and nothing was before.
    """
    found = find(home.root, keys, texts, near=near)
    if not found.anywhere:
        rows = read_tombstones(home.root)
        named = {*map(hash_of, keys), *map(content_hash, texts)}
        if not named <= {each.key for each in rows} | {each.content for each in rows}:
            raise ValueError(
                "no document here has such a key or text, in landing or in state; look for its key with "
                "`grep -rl` in data/, or give its text with --match FILE"
            )
    batches = sorted({(hit.task, hit.batch) for hit in found.hits})
    versions = touched(home, Registry(home), found.target, batches)
    return Plan(
        target=found.target,
        hits=tuple(found.hits),
        near=tuple(found.near),
        versions=tuple(versions),
        whole_files=whole_files,
    )


def forget(home: Home, wanted: Plan, why: str, progress: Progress | None = None) -> Done:
    """Remove documents from everything that the workspace holds; the caller holds its lock.

    Raises:
        ValueError: the reason tells what is to be forgotten, or a landed file cannot be rewritten.
    """
    if wanted.target.text(why) or any(key in why.split() for key in wanted.target.keys):
        raise ValueError("--why: names the document, and would keep its key or text in the ledger: say it otherwise")
    if not wanted.whole_files:
        check_batches(home.root, wanted.target, {(hit.task, hit.batch) for hit in wanted.hits})
    pairs: set[tuple[str | None, str | None]] = {(hit.key, hit.content) for hit in wanted.hits if hit.key is not None}
    pairs |= {(key, None) for key in wanted.target.keys - {str(key) for key, _ in pairs}}
    pairs |= {(None, content) for content in wanted.target.contents - {str(content) for _, content in pairs}}
    facts = {"when": datetime.now(UTC).isoformat(timespec="seconds"), "why": why, "who": who()}
    named = wanted.target.keys  # a twin under another key goes for its content; its key may land with another
    rows = [
        Tombstone(key=hash_of(key) if key is not None and key in named else None, content=content, **facts)
        for key, content in sorted(pairs, key=str)
    ]
    _write(home, _Journal(plan=wanted, tombstones=tuple(dict.fromkeys(rows))))
    done = finish(home, progress)
    assert done is not None, "the journal was just written"
    return done


def is_under_way(home: Home) -> bool:
    """Whether a deletion was cut off before its end."""
    return (home.hidden / JOURNAL).exists()


def finish(home: Home, progress: Progress | None = None) -> Done | None:
    """Do what is left of a deletion; none: there is none under way. The caller holds the workspace's lock."""
    if not is_under_way(home):
        return None
    tell = progress or (lambda *_: None)
    journal = _Journal.model_validate_json((home.hidden / JOURNAL).read_bytes())
    wanted, rows, root = journal.plan, journal.tombstones, home.root
    target, registry = wanted.target, Registry(home)

    def step(name: str) -> None:
        tell("forget", STEPS.index(name), len(STEPS), name)

    bury(root, rows)  # first: it cannot land any more
    step("landing")
    batches = rewrite_batches(root, target, rows, whole_files=wanted.whole_files)
    step("segments")
    moved = {**journal.moved, **rewrite_segments(root, target, rows)}
    if moved != journal.moved or not journal.digests:
        digests = {**new_identities(home, registry, moved), **journal.digests}
        journal = journal.model_copy(update={"moved": moved, "digests": digests})
        _write(home, journal)
    step("versions")
    rewrite_versions(home, registry, moved, journal.digests, rows, wanted.versions)
    remove_segments(root, list(moved))
    step("stages")
    stages = clear_stages(home, target)
    step("records")
    records = scrub_runs(home, registry, target) + scrub_ledger(home, target) + scrub_hidden(home, target)
    records += scrub_databases(home, target)
    _write(home, journal.model_copy(update={"local": True}))
    step("cache and remotes")
    objects = remove_objects(root, target)
    step("pointers")
    point_anew(root)
    done = Done(
        documents=len({(hit.key, hit.content) for hit in wanted.hits}),
        batches=tuple(batches),
        segments=len(moved),
        stages=tuple(stages),
        records=records,
        objects=objects,
        versions=wanted.versions,
    )
    facts = {"batches": batches, "versions": {each.version: each.how for each in wanted.versions}, "objects": objects}
    home.record(
        "forget", documents=[row.model_dump(include={"key", "content"}) for row in rows], why=rows[0].why, **facts
    )
    (home.hidden / JOURNAL).unlink()
    return done


def finish_what_was_cut_off(home: Home) -> None:
    """Before a refresh: end a deletion that a crash cut off. A remote that is away is no reason to wait.

    Raises:
        Exception: something is left to do in the workspace itself, and cannot be done.
    """
    try:
        if finish(home) is not None:
            logger.info("a deletion that had been cut off was finished")
    except Exception as error:
        journal = _Journal.model_validate_json((home.hidden / JOURNAL).read_bytes())
        if not journal.local:
            raise
        logger.warning("forgotten documents are still on a DVC remote (%s); run `perennial forget` again", error)


def _write(home: Home, journal: _Journal) -> None:
    path: Path = home.hidden / JOURNAL
    write_atomic(path, journal.model_dump_json())
    path.chmod(0o600)
