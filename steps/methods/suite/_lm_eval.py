"""lm-evaluation-harness as a library: its tasks built and asked, its results read."""

import math
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from jinja2 import TemplateError

from steps.methods.suite._contained import contained
from steps.methods.suite._tasks import TaskFile, rows_of

PER_UNIT = {"word_perplexity": "word", "byte_perplexity": "byte", "bits_per_byte": "byte"}  # (log likelihood, units)
SHOWN_CHARACTERS = 300
UNREADABLE = (TemplateError, LookupError, TypeError, AttributeError, ValueError)  # what the harness meets in a task


def build(spec: str | TaskFile, shots: int | None, seed: int, where: str) -> dict[str, Any]:
    """The tasks of a file, or those that the harness has under a name.

    Raises:
        ValueError: there is none of that name, or its data or metric cannot be had.
    """
    from lm_eval.tasks import TaskManager

    manager = TaskManager(include_defaults=isinstance(spec, str))
    name = spec if isinstance(spec, str) else str(spec.config["task"])
    if isinstance(spec, str) and spec not in manager.all_tasks:
        near = ", ".join(get_close_matches(spec, manager.all_tasks)) or "none of a like name"
        raise ValueError(f"{where}: the harness has no task {spec!r}; near it: {near}; a file's name ends in .yaml")
    try:
        with contained():
            built: dict[str, Any] = manager.load([spec if isinstance(spec, str) else _config(spec, where)])["tasks"]
    except (OSError, RuntimeError) as error:
        raise ValueError(
            f"{where}: task {name}: its data cannot be had: {str(error)[:300]}; without a hub, write a task file with "
            "dataset_path: json (docs/evaluation.md)"
        ) from error
    except UNREADABLE as error:
        raise ValueError(
            f"{where}: task {name}: the harness cannot read it: {type(error).__name__}: {error}; correct its file"
        ) from error
    for title, task in built.items():
        if None in task._metric_fn_list.values() and task.config.process_results is None:
            raise ValueError(
                f"{where}: task {title}: a metric is none of the harness's own; others would be fetched as code"
            )
        if shots is not None:
            task.set_config(key="num_fewshot", value=shots)
        task.set_fewshot_seed(seed=seed)
    return built


def _config(spec: TaskFile, where: str) -> dict[str, Any]:
    """What the harness builds a task from; local data are read here: its own reader would cache them by name."""
    if not spec.data:
        return dict(spec.config)
    from datasets import Dataset

    held = {
        split: Dataset.from_list([row for file in files for row in rows_of(file, where)])
        for split, files in spec.data.items()
    }
    left_out = ("dataset_path", "dataset_name", "dataset_kwargs")
    config = {key: value for key, value in spec.config.items() if key not in left_out}
    return config | {"custom_dataset": lambda **_: held}


def ask(model: Any, name: str, task: Any, rows: Sequence[int], *, chat: bool) -> dict[int, list[Mapping[str, Any]]]:
    """What the harness logs of some questions, one entry for each filter, by the row of the question."""
    from lm_eval.evaluator import evaluate

    found: dict[int, list[Mapping[str, Any]]] = {row: [] for row in rows}
    try:
        with contained():
            result = evaluate(
                model,
                {"tasks": {name: task}, "groups": {}, "group_map": {}},
                samples={name: sorted(rows)},
                bootstrap_iters=0,
                apply_chat_template=chat,
                fewshot_as_multiturn=chat,
            )
    except UNREADABLE as error:
        raise ValueError(f"suite {name}: the harness cannot ask it: {error}; correct its file") from error
    for sample in result["samples"][name]:
        found[sample["doc_id"]].append(sample)
    return found


def scored(samples: Sequence[Mapping[str, Any]], metric: str, where: str) -> tuple[str, float]:
    """The metric of a question that counts, and its value in 0..1.

    Raises:
        ValueError: the task has no such metric, or none in 0..1.
    """
    wanted, _, filtered = metric.partition(",")
    for sample in samples:
        for name in sample["metrics"]:
            if (wanted and name != wanted) or (filtered and sample["filter"] != filtered):
                continue
            value = sample[name]
            if name in PER_UNIT:
                return f"probability of a {PER_UNIT[name]}", math.exp(min(0.0, value[0] / max(1, value[1])))
            if name != "perplexity" and isinstance(value, int | float) and 0 <= value <= 1:
                return name, float(value)
    offered = sorted({f"{name},{sample['filter']}" for sample in samples for name in sample["metrics"]})
    raise ValueError(f"{where}: wanted {metric or 'a metric'} in 0..1 for each question, found {', '.join(offered)}")


def said(sample: Mapping[str, Any]) -> tuple[str, str]:
    """What was answered (of choices the likeliest), and what was wanted."""
    given, arguments = sample["filtered_resps"], sample["arguments"]
    target = sample["target"]
    if len(given) > 1 and all(isinstance(each, tuple | list) for each in given):
        options = [str(each[1]).strip() for each in arguments]
        best = max(range(len(given)), key=lambda place: given[place][0])
        wanted = options[target] if isinstance(target, int) and 0 <= target < len(options) else target
        return options[best], str(wanted)[:SHOWN_CHARACTERS]
    answer = given[0]
    likelihood = answer[0] if isinstance(answer, tuple | list) else answer
    told = f"log likelihood {likelihood:.2f}" if isinstance(likelihood, float) else str(answer)
    return told[:SHOWN_CHARACTERS], str(target)[:SHOWN_CHARACTERS]


def digestible(document: Mapping[str, Any]) -> str:
    """A question's content as text, the same in every run."""
    return str(sorted((key, str(value)) for key, value in document.items()))


def inside(root: Path, files: Sequence[Path]) -> dict[str, Path]:
    """Files by their names in the workspace."""
    return {path.relative_to(root.resolve()).as_posix(): path for path in files}
