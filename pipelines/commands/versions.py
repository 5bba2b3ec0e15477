"""Verbs on single versions: how two differ, one as a folder of its own, one sent elsewhere."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.commands.common import Json, err, open_home, show
from pipelines.progress import progress_bars

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

    from pipelines.edge.differences import Difference
    from pipelines.edge.export import Exported
    from pipelines.edge.push import Pushed

Number = Annotated[str, typer.Argument(metavar="VERSION", help="A version's number, for instance 3, or `champion`.")]


def diff(
    first: Annotated[str, typer.Argument(metavar="V1", help="A version's number, an alias, or `base`.")],
    second: Annotated[str, typer.Argument(metavar="V2", help="The other; what changed is told from V1 to V2.")],
    as_json: Json = False,
) -> None:
    """Show how two versions differ: recipe, data, losses, weights by layer, code, libraries.

    For instance `perennial diff base champion`, or `perennial diff 3 4 --json`.

    Of the recipe only what changed. Losses are those on the anchor hold-outs, which stay the same for all versions.
    """
    from pipelines.edge.differences import difference
    from pipelines.edge.registry import Registry

    home = open_home()
    with progress_bars(err, quiet=as_json) as progress:
        found = difference(
            Registry(home), first, second, lambda done, total, what: progress("compare", done, total, what)
        )
    show(found.model_dump(mode="json"), lambda: _difference(found), as_json=as_json)


def _difference(found: "Difference") -> "RenderableType":
    from rich.console import Group

    return Group(*_changed(found), _losses(found), _tasks(found), *_weights(found))


def _changed(found: "Difference") -> "list[Any]":
    from rich.markup import escape

    table = _table("Recipe, code and libraries", "what", found.first, found.second)
    for key, (one, two) in (found.recipe or {}).items():
        table.add_row(f"recipe: {key}", escape(_said(one)), escape(_said(two)))
    for name, (one, two) in (found.libraries or {}).items():
        table.add_row(f"library: {name}", _said(one), _said(two))
    if found.code[0] != found.code[1]:
        table.add_row("code", *(_said(revision)[:12] for revision in found.code))
    notes = [] if table.row_count else ["the same recipe, code and libraries, as far as they were recorded"]
    if found.recipe is None:
        notes.append("recipe: the base was made by none of this line, or it was not recorded of both")
    if found.libraries is None:
        notes.append("libraries: not recorded of both")
    if found.stages:
        notes.append(f"stages whose code or libraries differ: {', '.join(found.stages)}")
    return [*([table] if table.row_count else []), *notes]


def _losses(found: "Difference") -> "Table":
    table = _table("Anchor loss, nats per token", "task", found.first, found.second, "change")
    for row in found.metrics:
        change = "–" if row.change is None else f"{row.change:+.3f}"
        table.add_row(row.task, *("–" if loss is None else f"{loss:.3f}" for loss in (row.first, row.second)), change)
    return table


def _tasks(found: "Difference") -> "Table":
    one, two = found.first, found.second
    table = _table("Data", "task", f"batches only in {one}", f"only in {two}", "documents trained on", "loss tokens")
    for row in found.data:
        counts = [" → ".join("–" if n is None else f"{n:,}" for n in pair) for pair in (row.documents, row.tokens)]
        table.add_row(row.task, *(_names(names) for names in (row.only_first, row.only_second)), *counts)
    return table


def _weights(found: "Difference") -> "list[Any]":
    weights = found.weights
    if weights.same:
        return ["weights: the same, bit for bit"]
    if weights.all_layers is None:
        return [f"weights: not compared: {weights.why_not}"]
    table = _table("Weights: norm of the change over norm of what was there", "layer", "relative change", "norm")
    for layer in (*weights.layers, weights.all_layers):
        name = "all" if layer is weights.all_layers else "outside" if layer.layer is None else str(layer.layer)
        table.add_row(name, *("–" if value is None else f"{value:.3g}" for value in (layer.relative, layer.norm)))
    return [table]


def _table(title: str, *columns: str) -> "Table":
    from rich.table import Table

    return Table(*columns, title=title, title_justify="left")


def _said(value: Any) -> str:
    return "–" if value is None else str(value)


def _names(names: tuple[str, ...]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown or "none"


def export(
    version: Number,
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="A new or empty folder; nothing is overwritten.")],
    as_json: Json = False,
) -> None:
    """Write a version as a folder that transformers, vLLM and llama.cpp's converter read, with its model card.

    Safetensors, configuration, tokenizer, generation settings, chat template, README.md; no training state, no pickle.
    The digest of what was written is checked against the registry's.

    Then, for instance: `vllm serve DIR`, or llama.cpp's `convert_hf_to_gguf.py DIR`.
    """
    from pipelines.edge.export import export as write
    from pipelines.edge.registry import Registry

    registry = Registry(open_home())
    found = write(registry, registry.named(version), folder)
    show(found.model_dump(), lambda: _exported(found), as_json=as_json)


def _exported(found: "Exported") -> "RenderableType":
    from rich.console import Group

    table = _table(f"version {found.version}: {found.path}", "file", "bytes")
    for name, size in found.files.items():
        table.add_row(name, f"{size:,}")
    return Group(table, f"digest {found.digest[:16]}, that of the registered version")


def push(
    version: Number,
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="`hf:OWNER/NAME`, or an address of fsspec's.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would go; reach nobody.")] = False,
    public: Annotated[bool, typer.Option("--public", help="Make a new repository of the hub public.")] = False,
    as_json: Json = False,
) -> None:
    """Send a version to the Hugging Face hub or to an object store: what `perennial export` writes.

    For instance `perennial push champion hf:me/my-model`, or `perennial push 3 s3://models/mine/3`.

    Credentials come from the environment alone: HF_TOKEN; for stores what their driver reads, such as
    AWS_ACCESS_KEY_ID. A new repository is private. Every file is compared with what was sent. On the hub it all comes
    in one commit; elsewhere `perennial.json` comes last: without it the folder is not whole.
    """
    from pipelines.edge.push import push as send
    from pipelines.edge.registry import Registry

    registry = Registry(open_home())
    found = send(registry, registry.named(version), address, dry_run=dry_run, public=public)
    show(found.model_dump(), lambda: _pushed(found), as_json=as_json)


def _pushed(found: "Pushed") -> "RenderableType":
    from rich.console import Group

    table = _table(f"version {found.manifest.version} to {found.address}", "file", "bytes")
    for name, sent in found.manifest.files.items():
        table.add_row(name, f"{sent.bytes:,}")
    return Group(table, found.done)
