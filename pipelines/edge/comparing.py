"""Compare two versions by hand, outside of any refresh: what changed from one to the other, in weights and in words."""

import shutil
from collections.abc import Sequence

from pipelines.edge.devices import choose_device
from pipelines.edge.fingerprints import code_digest, methods_of
from pipelines.edge.home import Home
from pipelines.edge.lineage import base_of
from pipelines.edge.registry import Registry
from pipelines.edge.session import Progress, Record
from pipelines.recipe import Recipe
from steps.compare import compare
from steps.core.artifacts import Frozen, Holdout, Model, Validation, Version
from steps.core.differences import Changes
from steps.core.workspace import Workspace

BASE = "base"


class Compared(Frozen):
    """What changed from the first version to the second."""

    first: str
    second: str
    changes: Changes
    notes: tuple[str, ...] = ()


def compare_versions(home: Home, first: str, second: str, recipe: Recipe, progress: Progress | None = None) -> Compared:
    """Compare as the stage of a refresh does, by its section of a recipe; nothing that a refresh made is touched.

    Each is a number, an alias or `base`.

    Raises:
        ValueError: there is no such version, its weights are gone, or the two are of different shapes.
    """
    registry = Registry(home)
    versions = [
        base_of(home, recipe.base) if name == BASE else registry.version(registry.named(name))
        for name in (first, second)
    ]
    device = choose_device(home.settings.device)
    parent, candidate = (version.model for version in versions)
    folder = home.hidden / "compare" / f"{parent.digest[:16]}-{candidate.digest[:16]}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    workspace = Workspace(
        root=home.root,
        path=folder,
        seed=recipe.seed,
        code=code_digest([compare.__module__, *methods_of("compare")]),
        device=device,
        progress=lambda done, total, what: progress("compare", done, total, what) if progress else None,
    )
    with home.lock():
        validation = _validation(home)
        section = recipe.resolved(device, home.root).compare
        changes = compare(workspace, section, parent, candidate, _references(versions), validation)
    notes = [] if validation.num_items else ["no hold-outs here yet: only weights were compared"]
    return Compared(first=versions[0].name, second=versions[1].name, changes=changes, notes=tuple(notes))


def _references(versions: Sequence[Version]) -> tuple[Model, ...]:
    """The base of the line, by whichever of the two knows it."""
    return next((version.references for version in reversed(versions) if version.references), ())


def _validation(home: Home) -> Validation:
    """The validation items of the last attempt; none before the first."""
    file = home.root / "data/split/record.json"
    if not file.exists():
        return Validation(digest="none", path="data/split", num_items={})
    record = Record.model_validate_json(file.read_text(encoding="utf-8"))
    return Holdout.model_validate(record.artifact).validation
