"""A version as a folder of its own: what transformers, vLLM and llama.cpp's converter read, and nothing else."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

from pydantic import Field

from pipelines.edge import card
from pipelines.edge.facts import read_facts
from pipelines.edge.registry import Registry, link
from steps.core.artifacts import Frozen
from steps.core.models import INDEX, chat_template, digest_of_model, weight_files, writing
from steps.core.shards import write_atomic, write_json

CONFIG, GENERATION, TOKENIZER_CONFIG, TEMPLATE = (
    "config.json",
    "generation_config.json",
    "tokenizer_config.json",
    "chat_template.jinja",
)
BESIDE = (  # what may stand beside the weights, by who reads it; each is written only where the version has it
    GENERATION,  # transformers, vLLM
    TOKENIZER_CONFIG,
    "tokenizer.json",  # the fast tokenizer: transformers, vLLM; its vocabulary and merges: llama.cpp's converter
    "tokenizer.model",  # SentencePiece: llama.cpp's converter prefers it where there is one
    "spiece.model",
    "vocab.json",
    "merges.txt",
    "vocab.txt",
    "added_tokens.json",
    "special_tokens_map.json",
    TEMPLATE,
    "LICENSE",
    "LICENSE.txt",
    "LICENSE.md",
    "NOTICE",
)
MADE_HERE = ("_name_or_path",)  # of config.json: where it lay on the machine that made it; no part of the digest
Copy = Callable[[Path, Path], object]


class Exported(Frozen):
    """A folder that was written."""

    version: str
    path: str
    files: dict[str, int] = Field(description="name -> bytes")
    digest: str = Field(description="of weights, tokenizer and configuration: that of the registered version")


def export(registry: Registry, number: str, folder: Path) -> Exported:
    """Write a version into a new or empty folder, whole or not at all.

    Raises:
        ValueError: the folder holds something, or the version's weights were removed.
        RuntimeError: what was written is not what was registered.
    """
    if folder.is_symlink() or (folder.exists() and (not folder.is_dir() or any(folder.iterdir()))):
        raise ValueError(f"{folder}: wanted a new or an empty folder, found something there; name another")
    partial = folder.with_name(f".{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with writing(folder):
            found = assemble(registry, number, partial, shutil.copyfile)
            partial.replace(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return found.model_copy(update={"path": str(folder)})


def assemble(registry: Registry, number: str, folder: Path, copy: Copy = link) -> Exported:
    """Put the files of a version into a folder, its weights by `copy`.

    Raises:
        ValueError: the version's weights were removed.
        RuntimeError: what was written is not what was registered.
    """
    source = registry.home.root / registry.version(number).model.path
    folder.mkdir(parents=True)
    for file in weight_files(source):
        copy(file, folder / file.name)
    if len(weight_files(source)) > 1 or not (source / "model.safetensors").is_file():
        shutil.copyfile(source / INDEX, folder / INDEX)
    for name in BESIDE:
        if (source / name).is_file():
            shutil.copyfile(source / name, folder / name)
    config = json.loads((source / CONFIG).read_text(encoding="utf-8"))
    write_json(folder / CONFIG, {key: value for key, value in config.items() if key not in MADE_HERE})
    _write_template(source, folder)
    facts = read_facts(registry, number)
    write_atomic(folder / card.NAME, card.render(facts))
    digest = digest_of_model(folder)
    if digest != facts.weights:
        raise RuntimeError(
            f"version {number}: written to {folder} with digest {digest[:16]}, registered with {facts.weights[:16]}; "
            f"its files in the registry have changed: `perennial reproduce {number}`"
        )
    files = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
    return Exported(version=number, path=str(folder), files=files, digest=digest)


def _write_template(source: Path, folder: Path) -> None:
    """The chat template in both places in which readers look: a file of its own, and the tokenizer's settings."""
    template = chat_template(source)
    if not isinstance(template, str):  # none, or several by name, which stay where they are
        return
    write_atomic(folder / TEMPLATE, template)
    settings = folder / TOKENIZER_CONFIG
    content = json.loads(settings.read_text(encoding="utf-8")) if settings.is_file() else {}
    write_json(settings, {**content, "chat_template": template})
