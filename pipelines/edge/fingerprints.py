"""What decides an artifact: its stage's source, the methods it names, the libraries behind its numbers."""

import ast
from collections.abc import Iterable, Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from steps.core.artifacts import Artifact, TrainingSet
from steps.core.method import Method, method_names
from steps.core.shards import digest_of

STEPS = Path(__file__).parent.parent.parent / "steps"
CHOOSES = {  # a reader by the file, masks for what is shown
    "ingest": ("reader", "privacy"),
    "clean": ("reader", "privacy"),
    "evaluate": ("privacy",),
    "compare": ("privacy",),
}
LIBRARIES = {  # import name -> distribution; only those that can change a number
    "torch": "torch",
    "transformers": "transformers",
    "tokenizers": "tokenizers",
    "safetensors": "safetensors",
    "peft": "peft",
    "accelerate": "accelerate",
    "numpy": "numpy",
    "scipy": "scipy",
    "pandas": "pandas",
    "great_expectations": "great_expectations",
    "yaml": "PyYAML",
    "pyflakes": "pyflakes",
    "numba": "numba",
    "ftfy": "ftfy",
    "stdnum": "python-stdnum",
    "fasttext": "fasttext-predict",
    "presidio_analyzer": "presidio-analyzer",
    "pyarrow": "pyarrow",
    "trafilatura": "trafilatura",
    "pypdfium2": "pypdfium2",
    "docutils": "docutils",
    "ot": "POT",
    "bitsandbytes": "bitsandbytes",
    "lm_eval": "lm_eval",
}


def _file_of(module: str) -> Path | None:
    base = STEPS.parent.joinpath(*module.split("."))
    for path in (base.with_suffix(".py"), base / "__init__.py"):
        if path.exists():
            return path
    return None


@cache
def _read(path: Path) -> tuple[str, frozenset[str]]:
    """A module's syntax tree as text, without docstrings, and the names of the modules that it imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported.update(name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            imported.add(node.module)
            imported.update(f"{node.module}.{name.name}" for name in node.names)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree, annotate_fields=False), frozenset(imported)


def methods_of(stage: str) -> list[str]:
    """The modules of the methods that a stage chooses by what it reads, whatever the recipe says."""
    names = [(slot, name) for slot in CHOOSES.get(stage, ()) for name in method_names(slot)]
    return [f"steps.methods.{slot}.{name.replace('-', '_')}" for slot, name in names]


def methods_in(value: Any) -> list[str]:
    """The modules of all methods in a section, however deep."""
    if isinstance(value, Method):
        return [type(value).__module__] + [
            m for name in type(value).model_fields for m in methods_in(getattr(value, name))
        ]
    if isinstance(value, BaseModel):
        return [m for name in type(value).model_fields for m in methods_in(getattr(value, name))]
    if isinstance(value, Mapping):
        return [m for part in value.values() for m in methods_in(part)]
    if isinstance(value, list | tuple):
        return [m for part in value for m in methods_in(part)]
    return []


def methods_steering(artifacts: Iterable[Any]) -> list[str]:
    """The modules of the mixtures that are asked while training runs."""
    steered = [artifact.steered for artifact in artifacts if isinstance(artifact, TrainingSet) and artifact.steered]
    return [f"steps.methods.mixture.{each['method'].replace('-', '_')}" for each in steered]


def code_digest(modules: Iterable[str]) -> str:
    """Digest of the source below `steps/` that these modules reach, and of the libraries behind its numbers.

    A comment, a docstring or a line break changes nothing; a build label (`+cpu`) does not either.
    """
    waiting = sorted(set(modules))
    sources: dict[str, str] = {}
    libraries: set[str] = set()
    while waiting:
        module = waiting.pop()
        path = _file_of(module)
        if path is None or module in sources or not module.startswith("steps"):
            continue
        sources[module], imported = _read(path)
        waiting.extend(name for name in imported if name.startswith("steps."))
        libraries.update(name.split(".")[0] for name in imported if name.split(".")[0] in LIBRARIES)
    return digest_of({"sources": sources, "libraries": {name: _version(LIBRARIES[name]) for name in sorted(libraries)}})


def libraries() -> dict[str, str]:
    """The versions of the libraries behind the numbers, of those that are installed."""
    found = {name: _version(name) for name in sorted(set(LIBRARIES.values()), key=str.lower)}
    return {name: version for name, version in found.items() if version != "none"}


def _version(distribution: str) -> str:
    try:
        return version(distribution).split("+")[0]
    except PackageNotFoundError:
        return "none"


def digests_in(value: Any) -> Any:
    """The content digests of a step's arguments, in their shape."""
    if isinstance(value, Artifact):
        return value.digest
    if isinstance(value, Mapping):
        return {str(key): digests_in(part) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [digests_in(part) for part in value]
    raise TypeError(f"a step takes artifacts, found {type(value).__name__}")
