"""One stage at a time, without Prefect: what `perennial step` and so `dvc repro` run; and its rules on single files."""

from pathlib import Path
from typing import Any

from pipelines.edge import landing
from pipelines.edge.devices import choose_device
from pipelines.edge.home import Home
from pipelines.edge.logbook import data_pages
from pipelines.edge.session import Inputs, Progress, Session, Stopped
from pipelines.edge.stages import REPAIR, STAGES
from pipelines.recipe import find_recipe, load_recipe
from pipelines.refresh import refresh
from steps.core.artifacts import Batch, Landed, TaskFacts
from steps.core.documents import Document, Item, document_of, read_items
from steps.core.holdouts import PARTS
from steps.core.method import load_method
from steps.curation.explain import Known, as_row, explain, kept
from steps.curation.landed import Reading, outcome_of
from steps.methods.privacy import masked
from steps.methods.reader import reader_for
from steps.methods.reader._shared import head

AFTER_GATE = STAGES.index("gate") + 1
WORDS = ("inputs", *STAGES[:AFTER_GATE], REPAIR, *STAGES[AFTER_GATE:], "conclude")
Explained = dict[str, Any]  # key, verdict, rules: what each says; or where, verdict: why a record is no document


def run_step(home: Home, stage: str, task: str | None, recipe: str | None, progress: Progress) -> str:
    """Make one stage of the attempt in `data/inputs.json`; `inputs` begins an attempt. Returns a line for a person.

    Raises:
        ValueError: there is no such stage, no attempt is under way, or a stage before it is not made.
    """
    if stage not in WORDS:
        raise ValueError(f"no stage {stage!r}; there are: {', '.join(WORDS)}")
    file = home.root / "data" / "inputs.json"
    begins = stage == "inputs"
    if not begins and not file.exists():
        raise ValueError(f"{file}: no attempt is under way; begin one with `perennial step inputs`")
    inputs = None if begins else Inputs.model_validate_json(file.read_text(encoding="utf-8"))
    written = load_recipe(find_recipe(recipe or home.settings.recipe, home.root)) if inputs is None else inputs.written
    do = Session(home, written, prefect=False, track=False, only=stage, task=task, inputs=inputs, progress=progress)
    with home.lock():
        try:
            outcome = refresh(do)
        except Stopped:
            report = f"; report: {data_pages(do, do.made[stage])['clean']}" if stage == "clean" else ""
            return f"{stage}{f' {task}' if task else ''}: made{report}"
        except BaseException as error:
            do.abandon("FAILED" if isinstance(error, Exception) else "KILLED")
            raise
    return f"{stage}: {outcome.kind}, {'; '.join(outcome.reasons)}"


def explain_file(home: Home, file: Path, task: str | None, recipe: str | None) -> list[Explained]:
    """What every rule of clean says of each document of a file, as if it had landed; nothing is written.

    Rules that learn use what they learned when clean was last made here; hold-outs and index are those of that attempt.

    Raises:
        ValueError: there is no such file, task or recipe.
    """
    if not file.is_file():
        raise ValueError(f"{file}: no such file; give a file of documents to explain")
    tasks = landing.load_tasks(home.root)
    name = task or next((name for name, facts in tasks.items() if facts.role == "train"), next(iter(tasks)))
    if name not in tasks:
        raise ValueError(f"no task {name!r}; there are: {', '.join(tasks)}")
    clean = load_recipe(find_recipe(recipe or home.settings.recipe, home.root)).clean
    made, attempt = home.root / "data", home.root / "data" / "inputs.json"
    index = None
    if attempt.exists():
        parent = Inputs.model_validate_json(attempt.read_text(encoding="utf-8")).parent
        index = [home.root / segment.path for segment in parent.index.segments]
    items = [item for path in sorted((made / "split").glob("*/*/*.jsonl")) for item in _items(path)]
    known = Known(made / "clean" / "learned" / name, items, index)
    chain = clean.located(home.root, choose_device(home.settings.device))
    documents, others = _read(file, tasks[name])
    told = explain(chain, clean.decontaminate, clean.dedup, documents, known)
    found = [
        {"key": masked(document.key), "verdict": kept(own) or "kept", "rules": [as_row(one) for one in own]}
        for document, own in zip(documents, told, strict=True)
    ]
    return found + others


def _items(path: Path) -> list[Item]:
    """The hold-out items of a file of split; its segment's are among the whole sets."""
    return read_items(path) if path.parent.parent.name in PARTS else []


def _read(file: Path, task: TaskFacts) -> tuple[list[Document], list[Explained]]:
    """The documents of a file, and the records that are none."""
    batch = Batch(digest="", task=task.name, name="explained", path="", time="1970-01-01T00:00:00Z")
    landed, documents, others = Landed(digest="", task=task, batches=(batch,)), [], []
    reader: Any = load_method("reader", reader_for(file.name, head(file)))()
    for record in reader.read(file, file.name):
        outcome = outcome_of(record, landed, batch, file.name, Reading())
        if outcome.reason:
            where = f"{file.name}:{outcome.where['line']}"
            others.append({"where": where, "verdict": f"quarantined: {outcome.reason}", "excerpt": outcome.excerpt})
        else:
            documents.append(document_of(outcome.row, Document))
    return documents, others
