"""docs/methods.md: every method, written from its own words, its citation and what was measured of it."""

import importlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipelines.recipe import RECIPES
from steps.core.method import Method, load_method, method_names

MEASURED = Path(__file__).parents[1] / "docs" / "methods-measured.json"
GROUPS = {
    "Training": ("params", "objective", "optimizer", "schedule"),
    "What to train on": ("select", "mixture", "order", "replay", "merge"),
    "Curation": ("reader", "repair", "quality", "dedup", "privacy", "decontaminate"),
    "Judgement": ("suite",),
}
HEAD = """# Methods

Every line of a recipe that names a method is a file: `train: {objective: {method: threshold-margin}}` is
`steps/methods/objective/threshold_margin.py`. This page is made by `perennial methods --markdown` from these files.

**Checked** says how far a method was compared with its source: `paper` its text, `code` its public code, `secondary`
somebody's account of it, `recalled` neither: such constants are knobs. **At its limit** is what a method becomes when
its knob does nothing: `exact` to the bit, `close` to 1e-5, `none` nothing; a test shows it. **Time** is that of an
optimiser step as a multiple of plain training's, by [`make bench-training`](benchmarks.md#training); what methods learn
and forget is in [a table](benchmarks.md#what-methods-learn-and-forget).

**From refresh to refresh.** What a method needs again next time (past adapters, a Fisher, a count) belongs to the
version and goes where it goes: promotion, rollback, backup. So does the plateau of `schedule: infinite`, which warms
up and cools down once: every refresh trains on at the constant rate, and only its end is annealed for the release.
The model before that is kept beside the release; the next refresh trains from it, while gate, merge and teachers look
at the champion. A refresh whose recipe has no use for what was kept drops it, and says so.

**The stability gap.** With `train: {validate_early: true}` validation looks after steps 1, 2, 4, 8, … A task that
gets worse first shows as depth (nats/token), the step of the worst look, recovery (steps until the loss is back, none
if never) and area (nats/token × steps), in MLflow as numbers and as a plot.
"""


def page() -> str:
    """The whole page, in Markdown."""
    measured: dict[str, Any] = json.loads(MEASURED.read_text(encoding="utf-8")) if MEASURED.exists() else {}
    groups = (line for group, slots in GROUPS.items() for line in _group(group, slots, measured))
    return "\n".join([HEAD, *_recipes(), *groups])


def _recipes() -> Iterator[str]:
    yield "## Recipes\n"
    yield "Complete runs, each to be tried as it stands (`perennial refresh gere`), then copied and changed.\n"
    yield "| recipe | what it shows |\n|---|---|"
    for path in sorted(RECIPES.glob("*.yaml")):
        lines = path.read_text(encoding="utf-8").splitlines()
        told = " ".join(line[1:].strip() for line in itertools.takewhile(lambda line: line.startswith("#"), lines))
        yield f"| [`{path.stem}`](../pipelines/recipes/{path.name}) | {told} |"
    yield ""


def _group(group: str, slots: tuple[str, ...], measured: Mapping[str, Any]) -> Iterator[str]:
    trains = group == "Training"
    yield f"## {group}\n"
    for slot in slots:
        yield f"### `{slot}`\n"
        yield first_paragraph(importlib.import_module(f"steps.methods.{slot}").__doc__ or "") + "\n"
        columns = [
            "method",
            "what it does",
            *(["needs", "time"] if trains else []),
            "at its limit",
            "source",
            "checked",
        ]
        yield "| " + " | ".join(columns) + " |"
        yield "|" + "---|" * len(columns)
        for name in method_names(slot):
            method = load_method(slot, name)
            cells = [f"`{name}`", first_paragraph(method.__doc__ or "")]
            if trains:
                cells += [needs(method), _time(measured.get(f"{slot}/{name}"))]
            cells += [limit(method), source(method), method.cite.checked]
            yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
        yield ""


def needs(method: type[Method]) -> str:
    """What a method of the stage train wants beside the text: old text, a teacher, the last refresh's state, passes."""
    plain: Any = method.model_construct()
    found = ["replayed text"] if getattr(plain, "needs_replay", False) else []
    found += [f"the {name} in memory" for name in getattr(plain, "teachers", ())]
    return "; ".join([*found, getattr(method, "cost", "")]).strip("; ") or "–"


def limit(method: type[Method]) -> str:
    """The line `Reduces to:` of a method."""
    found = re.search(r"Reduces to:\s*(.+?)(?=\n\s*\n|\n\s*[A-Z][a-z]+:|\Z)", method.__doc__ or "", flags=re.DOTALL)
    return " ".join(found.group(1).split()) if found else "-"


def source(method: type[Method]) -> str:
    """The citation, linked where it has an address."""
    cite = method.cite
    if cite.id == "ours":
        return "ours"
    address = {
        "arXiv": f"https://arxiv.org/abs/{cite.id.removeprefix('arXiv:')}",
        "doi": f"https://doi.org/{cite.id.removeprefix('doi:')}",
    }.get(cite.id.split(":")[0], f"https://github.com/{cite.id}")
    return f"[{cite.title}]({address})"


def first_paragraph(doc: str) -> str:
    """The first paragraph of a docstring, on one line."""
    return " ".join(doc.strip().split("\n\n", 1)[0].split())


def _time(measured: Mapping[str, float] | None) -> str:
    return f"{measured['time']:.2f} ×" if measured else "–"
