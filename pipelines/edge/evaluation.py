"""Evaluate one version by hand, outside of any refresh: the hold-outs that lie here, and the suites of a recipe."""

import shutil

from pipelines.edge.devices import choose_device
from pipelines.edge.fingerprints import code_digest, methods_in, methods_of
from pipelines.edge.home import Home
from pipelines.edge.lineage import base_of
from pipelines.edge.registry import Registry
from pipelines.edge.session import Progress, Record
from pipelines.recipe import Recipe
from steps.core.artifacts import Frozen, GateItems, Holdout, Report
from steps.core.workspace import Workspace
from steps.evaluate import evaluate

BASE, CHAMPION = "base", "champion"
CACHES = ("scores.jsonl", "answers.jsonl")  # by item: what a refresh asked of this model is not asked again


class Evaluated(Frozen):
    """What a version scores."""

    version: str
    report: Report
    notes: tuple[str, ...] = ()


def evaluate_version(home: Home, name: str, recipe: Recipe, progress: Progress | None = None) -> Evaluated:
    """Score a version as a refresh would; nothing that a refresh made is touched.

    `name`: a number, an alias or `base`; `champion` is the base while there is none.

    Raises:
        ValueError: there is no such version, or what its evaluation reads does not fit.
    """
    registry = Registry(home)
    if name == CHAMPION and registry.champion() is None:
        name = BASE
    version = base_of(home, recipe.base) if name == BASE else registry.version(registry.named(name))
    device = choose_device(home.settings.device)
    section = recipe.resolved(device, home.root).evaluate
    folder, made = home.hidden / "evaluate" / version.model.digest[:16], home.root / "data/evaluate"
    folder.mkdir(parents=True, exist_ok=True)
    for cache in CACHES:
        kept = made / version.model.digest[:16] / cache
        if kept.exists() and not (folder / cache).exists():
            shutil.copyfile(kept, folder / cache)
    workspace = Workspace(
        root=home.root,
        path=folder,
        seed=recipe.seed,
        code=code_digest([evaluate.__module__, *methods_in(section), *methods_of("evaluate")]),
        device=device,
        progress=lambda done, total, what: progress("evaluate", done, total, what) if progress else None,
    )
    with home.lock():
        items = _items(home)
        report = evaluate(workspace, section, version.model, items)
    notes = [] if items.anchor else ["no hold-outs here yet: only suites were asked; the first refresh makes some"]
    if not report.suites:
        notes.append("no suite was asked: this is no chat model, and the recipe names none (docs/evaluation.md)")
    return Evaluated(version=version.name, report=report, notes=tuple(notes))


def _items(home: Home) -> GateItems:
    """The gate items of the last attempt; none before the first."""
    file = home.root / "data/split/record.json"
    if not file.exists():
        return GateItems(digest="none", path="data/split", anchor={}, fresh={})
    record = Record.model_validate_json(file.read_text(encoding="utf-8"))
    return Holdout.model_validate(record.artifact).gate
