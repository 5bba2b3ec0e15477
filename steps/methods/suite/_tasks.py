"""Task files of lm-evaluation-harness in the workspace, read so that nothing in them runs unless it may.

A task file is YAML, as the harness documents it. Its data are JSON lines beside it (`dataset_path: json`) or on a hub
(`dataset_path: organisation/name`). What could run code is refused: `!function` (without `functions: true`), metrics
that the harness would fetch, groups and classes; templates are rendered in Jinja's sandbox.
"""

import gzip
import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import yaml

HUB = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")
REFUSED = {
    "group": "name the tasks of the group one by one",
    "class": "a task that is a Python class can only be one of the harness's own",
    "custom_dataset": "name a file: dataset_path: json, dataset_kwargs: {data_files: {test: questions.jsonl}}",
    "unsafe_code": "code that a model wrote is never run",
    "use_prompt": "write the prompt into doc_to_text",
}


class TaskFile(NamedTuple):
    """A task file, and all files that decide what it asks."""

    config: dict[str, Any]
    data: dict[str, list[Path]]  # files by split; empty: on a hub
    files: list[Path]


def read_task(root: Path, name: str, where: str, *, functions: bool = False) -> TaskFile:
    """A task file of the workspace.

    Raises:
        ValueError: it is not there or leads out of the workspace, is no task, or asks for what is refused.
    """
    files: list[Path] = []
    config = _read(root, _inside(root, root / name, where), where, functions, files)
    config.setdefault("task", Path(name).stem)
    for key, advice in REFUSED.items():
        if config.get(key):
            raise ValueError(f"{where}: {name}: found {key}, which is not run here: {advice}")
    for metric in config.get("metric_list") or ():
        if not isinstance(metric, dict) or metric.get("hf_evaluate"):
            raise ValueError(
                f"{where}: {name}: metric {metric}: hf_evaluate would fetch code; take one of the harness's"
            )
    kwargs, path = dict(config.get("dataset_kwargs") or {}), str(config.get("dataset_path", ""))
    if kwargs.pop("trust_remote_code", False):
        raise ValueError(f"{where}: {name}: trust_remote_code would run code of a data set; remove it")
    if path != "json":
        if not HUB.match(path):
            raise ValueError(
                f"{where}: {name}: dataset_path: wanted json, with dataset_kwargs.data_files, or organisation/name on "
                f"a hub, found {path!r}"
            )
        return TaskFile(config, {}, files)
    listed = kwargs.get("data_files")
    if not isinstance(listed, dict) or not listed:
        raise ValueError(f"{where}: {name}: dataset_kwargs.data_files: wanted {{split: file}}, found {listed!r}")
    data = {
        str(split): [
            _inside(root, (root / name).parent / one, where) for one in ([own] if isinstance(own, str) else own)
        ]
        for split, own in listed.items()
    }
    return TaskFile(config, data, files + [path for own in data.values() for path in own])


def _read(root: Path, path: Path, where: str, functions: bool, files: list[Path]) -> dict[str, Any]:
    """A YAML file over the one that it includes."""
    if path in files:
        raise ValueError(f"{where}: {path} includes itself; remove the include")
    files.append(path)

    class Loader(yaml.SafeLoader):
        pass

    def function(loader: yaml.SafeLoader, node: yaml.ScalarNode) -> Callable[..., Any]:
        called = str(loader.construct_scalar(node))
        if not functions:
            raise ValueError(
                f"{where}: {path.name}: !function {called} runs Python of a file; `functions: true` lets it"
            )
        module, _, attribute = called.rpartition(".")
        file = _inside(root, path.parent / f"{module.replace('.', '/')}.py", where)
        files.append(file)
        return _function(file, attribute, where)

    Loader.add_constructor("!function", function)
    try:
        config = yaml.load(path.read_text(encoding="utf-8"), Loader)  # noqa: S506 - a SafeLoader
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{where}: {path}: wanted YAML, found {error}") from error
    if not isinstance(config, dict):
        raise ValueError(f"{where}: {path}: wanted a task's keys and values, found {type(config).__name__}")
    included = config.pop("include", None)
    for base in [included] if isinstance(included, str) else included or ():
        config = {**_read(root, _inside(root, path.parent / base, where), where, functions, files), **config}
    return config


def _function(file: Path, name: str, where: str) -> Callable[..., Any]:
    spec = importlib.util.spec_from_file_location(f"perennial_suite_{file.stem}", file)
    assert spec is not None, f"{file} is Python"
    assert spec.loader is not None, f"{file} is Python"
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found = getattr(module, name, None)
    if not callable(found):
        raise ValueError(f"{where}: {file}: wanted a function {name!r}, found none")
    return found  # type: ignore[no-any-return]


def _inside(root: Path, path: Path, where: str) -> Path:
    found = path.resolve()
    if not found.is_relative_to(root.resolve()):
        raise ValueError(f"{where}: {path} leads out of the workspace; copy it there")
    if not found.is_file():
        raise ValueError(f"{where}: {path}: no such file; write it, or take the suite out of evaluate.suites")
    return found


def rows_of(file: Path, where: str) -> list[dict[str, Any]]:
    """The JSON lines of a file, packed by gzip or not."""
    content = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    try:
        return [orjson.loads(line) for line in content.splitlines() if line.strip()]
    except ValueError as error:
        raise ValueError(f"{where}: {file}: wanted JSON lines: {error}; correct the file") from error
