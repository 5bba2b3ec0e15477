"""Verbs on single versions: how two differ, one as a folder of its own, one sent elsewhere."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.commands.common import Json, open_home, show

if TYPE_CHECKING:
    from rich.table import Table

    from pipelines.edge.export import Exported

Number = Annotated[str, typer.Argument(metavar="VERSION", help="A version's number, for instance 3, or `champion`.")]


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


def _exported(found: "Exported") -> "Table":
    from rich.table import Table

    table = Table("file", "bytes", title=f"version {found.version}: {found.path}", title_justify="left")
    for name, size in found.files.items():
        table.add_row(name, f"{size:,}")
    table.caption = f"digest {found.digest[:16]}, that of the registered version"
    return table
