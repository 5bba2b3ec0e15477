"""MLflow without documents: the files, tags and descriptions of every run and version."""

import contextlib
import gzip
import json
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

from pipelines.edge import lineage
from pipelines.edge.forget.batches import present_landing
from pipelines.edge.forget.segments import FORGOTTEN, identities, renamed
from pipelines.edge.forget.stores import Store
from pipelines.edge.forget.target import Target
from pipelines.edge.forget.tombstones import hash_of
from pipelines.edge.home import Home
from pipelines.edge.registry import Registered, Registry, experiment_id
from pipelines.edge.session import Inputs
from pipelines.edge.stored import STATE, WEIGHTS
from steps.core.artifacts import Frozen, Version
from steps.core.manifest import Tombstone
from steps.core.shards import canonical_json, read_lines, write_json

INPUTS, USED = "lineage/inputs.json", f"lineage/{lineage.USED}"
AS_THEY_ARE = ("lineage/recipe.json", "lineage/dvc.lock", "lineage/dvc.yaml", "lineage/tasks.yaml")
RECORDS = ("version.json", "retired.json")
How = Literal["trained", "may have trained", "descends", "consumed"]


class Touched(Frozen):
    """A version that has to do with documents: it trained on them, or may have; it stands on one that did; or they
    were in the batches that it consumed, held out or set aside.
    """

    version: str
    verdict: str
    how: How


def touched(home: Home, registry: Registry, target: Target, batches: Sequence[tuple[str, str]]) -> list[Touched]:
    """The versions that have to do with documents that landed in batches, oldest first."""
    found: dict[str, Touched] = {}
    for version in reversed(registry.versions()):
        inputs = _inputs(registry, version)
        consumed = inputs is not None and any(
            (task, batch.name) in batches for task, part in inputs.landed.items() for batch in part.batches
        )
        used = _used(registry, version)
        how: How | None = None
        if used is not None and used & {*map(hash_of, target.keys), *target.contents}:
            how = "trained"
        elif used is None and (consumed or (inputs is not None and _in_buffer(home, inputs.parent, target))):
            how = "may have trained"
        elif version.tags.get("perennial.parent") in {n for n, each in found.items() if each.how != "consumed"}:
            how = "descends"
        elif consumed:
            how = "consumed"
        if how:
            found[version.number] = Touched(version=version.number, verdict=version.verdict, how=how)
    return list(found.values())


def _store(registry: Registry, version: Registered) -> Store:
    return Store(str(registry.client.get_run(version.tags["perennial.run"]).info.artifact_uri))


def _inputs(registry: Registry, version: Registered) -> Inputs | None:
    store = _store(registry, version)
    return Inputs.model_validate_json(store.read(INPUTS)) if INPUTS in store.names() else None


def _used(registry: Registry, version: Registered) -> set[str] | None:
    """The hashes of keys and contents that a version trained on; none: it was not written down."""
    store = _store(registry, version)
    if USED not in store.names():
        return None
    rows = [json.loads(line) for line in gzip.decompress(store.read(USED)).splitlines()]
    return {row[name] for row in rows for name in ("key", "content_hash")}


def _in_buffer(home: Home, version: Version, target: Target) -> bool:
    files = [home.root / segment.path / "added.jsonl" for segment in version.buffer.segments]
    return any(target.row(row) for file in files for row in read_lines(file))


def new_identities(home: Home, registry: Registry, moved: Mapping[str, str]) -> dict[str, str]:
    """The digests that versions will have, by those that they have."""
    before = [record for version in reversed(registry.versions()) for record in _records(registry, version)]
    return identities(before, [renamed(home.root, version, moved) for version in before])


def rewrite_versions(
    home: Home,
    registry: Registry,
    moved: Mapping[str, str],
    digests: Mapping[str, str],
    tombstones: Sequence[Tombstone],
    versions: Sequence[Touched],
) -> None:
    """Let the records of versions, of their runs, and of the attempt under way name what is there now."""

    def now(version: Version) -> Version:
        after = renamed(home.root, version, moved)
        return after.model_copy(update={"digest": digests.get(after.digest, after.digest)})

    how = {each.version: each.how for each in versions}
    for version in reversed(registry.versions()):
        for place in _places(registry, version):
            for name in set(RECORDS) & set(place.names()):
                before = Version.model_validate_json(place.read(name))
                if now(before) != before:
                    place.write(name, _json(now(before).model_dump(mode="json")))
            if version.number in how:
                _mark(place, tombstones)
        if version.number in how:
            registry.tag(version.number, lineage.FORGOTTEN, worse(version, how[version.number]))
    for store, name, inputs in _every_inputs(home, registry):
        landed = {task: present_landing(home.root, part) for task, part in inputs.landed.items()}
        after = inputs.model_copy(update={"parent": now(inputs.parent), "landed": landed})
        if after != inputs and store is None:
            write_json(home.root / name, after.model_dump(mode="json"))
        elif after != inputs and store is not None:
            store.write(name, _json(after.model_dump(mode="json")))


def _records(registry: Registry, version: Registered) -> list[Version]:
    place = next(_places(registry, version))
    return [Version.model_validate_json(place.read(name)) for name in RECORDS if name in place.names()]


def worse(version: Registered, how: How) -> str:
    """Of what is known of a version from before and now, what is worse."""
    words = [*typing.get_args(How), ""]
    return min(version.tags.get(lineage.FORGOTTEN, ""), how, key=words.index)


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, ensure_ascii=False) + "\n").encode()


def _places(registry: Registry, version: Registered) -> Iterator[Store]:
    """Where a version's folder lies: in the registry, and perhaps in a copy here."""
    yield Store(str(registry.client.get_logged_model(version.model_id).artifact_location))
    copy = registry.home.hidden / "models" / f"version-{version.model_id}"
    if copy.is_dir():
        yield Store(str(copy))


def _mark(place: Store, tombstones: Sequence[Tombstone]) -> None:
    lines = place.read(FORGOTTEN).decode().splitlines() if FORGOTTEN in place.names() else []
    more = [canonical_json(each.model_dump()) for each in tombstones]
    place.write(FORGOTTEN, "".join(f"{line}\n" for line in dict.fromkeys([*lines, *more])).encode())


def _runs(home: Home, registry: Registry) -> Iterator[Any]:
    """Every run of the workspace, deleted ones too."""
    from mlflow.entities import ViewType

    token = None
    while True:
        page = registry.client.search_runs([experiment_id(home)], run_view_type=ViewType.ALL, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def _every_inputs(home: Home, registry: Registry) -> Iterator[tuple[Store | None, str, Inputs]]:
    """What attempts read: that under way, and those of all runs."""
    path = home.root / "data" / "inputs.json"
    if path.exists():
        yield None, "data/inputs.json", Inputs.model_validate_json(path.read_bytes())
    for run in _runs(home, registry):
        store = Store(str(run.info.artifact_uri))
        if INPUTS in store.names():
            with contextlib.suppress(ValueError):  # of an older form: nothing of this program reads it
                yield store, INPUTS, Inputs.model_validate_json(store.read(INPUTS))


def scrub_runs(home: Home, registry: Registry, target: Target) -> int:
    """Take documents out of the artifacts, tags and descriptions of runs and versions; returns how many changed."""
    changed = 0
    for run in _runs(home, registry):
        changed += _scrub_store(Store(str(run.info.artifact_uri)), target)
        for name, value in run.data.tags.items():
            if target.text(value):
                registry.client.set_tag(run.info.run_id, name, _said(target, value))
                changed += 1
    for version in registry.versions():
        changed += sum(_scrub_store(place, target) for place in _places(registry, version))
        described = registry.client.get_model_version(registry.name, version.number).description or ""
        if target.text(described):
            registry.client.update_model_version(registry.name, version.number, description=_said(target, described))
            changed += 1
    described = registry.client.get_registered_model(registry.name).description if registry.versions() else ""
    if target.text(described or ""):
        registry.client.update_registered_model(registry.name, description=_said(target, described))
    return changed


def _said(target: Target, text: str) -> str:
    after = target.scrubbed("text.md", text.encode())
    return text if after is None else after.decode()


def _scrub_store(store: Store, target: Target) -> int:
    changed = 0
    for name in store.names():
        if name in {*AS_THEY_ARE, INPUTS, *RECORDS, FORGOTTEN, USED} or name.startswith((f"{WEIGHTS}/", f"{STATE}/")):
            continue
        after = target.scrubbed(name, store.read(name))
        if after is not None:
            store.write(name, after)
            changed += 1
    return changed
