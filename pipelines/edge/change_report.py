"""What changed in the model, told to a person: the same words in MLflow and in Prefect."""

from collections.abc import Iterator
from typing import Any

from pipelines.edge.reports import table
from steps.core.differences import Changes, LayerChange

SHOWN_TEXTS = 6
SHOWN_CHARACTERS = 180
AGAINST = {"base": "the base", "parent": "its parent"}


def changes_report(changes: Changes) -> str:
    """The last section of the page of a refresh; empty where nothing was compared."""
    sentences = [*_weights(changes), *_words(changes)]
    parts = ["\n".join(f"- {sentence}" for sentence in sentences)] if sentences else []
    if changes.contrasts:
        lines = [(row["task"], f"{row['gap']:+.2f}", row["text"]) for row in contrast_rows(changes)[:SHOWN_TEXTS]]
        told = "What the candidate says and its parent would not; gap: how much likelier it finds it, nats per token."
        parts += [told, table(("task", "gap", "prompt → continuation"), lines)]
    return "\n### What changed in the model\n" + "\n\n".join(parts) + "\n" if parts else ""


def contrast_rows(changes: Changes) -> list[dict[str, Any]]:
    """The texts as rows, each in one line and as long as a table shows it."""
    return [
        {"task": each.task, "gap": round(each.gap_nats, 3), "text": _in_one_line(each.text)}
        for each in changes.contrasts
    ]


def contrast_table(changes: Changes) -> dict[str, Any]:
    """The texts as MLflow shows a table."""
    rows = contrast_rows(changes)
    columns = ["task", "gap", "text"]
    return {"columns": columns, "data": [[row[column] for column in columns] for row in rows]}


def change_metrics(changes: Changes) -> dict[str, float]:
    """The numbers that belong on a chart: one of each kind for the whole model, and KL by task."""
    found: dict[str, float | None] = {}
    if changes.whole:
        found = {
            "relative_norm": changes.whole.relative,
            "norm": changes.whole.norm,
            "effective_rank": changes.whole.effective_rank,
            "intruders": changes.whole.intruders,
        }
    for against, tasks in changes.divergence.items():
        found |= {f"kl_{against}_{task}": each.nats_per_token for task, each in tasks.items()}
    if changes.contrasts:
        found["gap"] = max(each.gap_nats for each in changes.contrasts)
    return {name: float(value) for name, value in found.items() if value is not None}


def _weights(changes: Changes) -> Iterator[str]:
    whole = changes.whole
    if whole is None:
        return
    if whole.norm == 0.0:
        yield "weights: none changed"
        return
    if whole.relative is None:
        yield "weights: some are no numbers"
        return
    most = ", ".join(f"`{name}` {_percent(relative)}" for name, relative in changes.farthest.items())
    yield f"weights: the update's norm is {_percent(whole.relative)} of the parent's" + (
        f"; farthest: {most}" if most else ""
    )
    if whole.effective_rank is not None and whole.intruders is not None:
        measured = "" if whole.num_decomposed == whole.num_matrices else f" ({_measured(whole)})"
        yield (
            f"a matrix changed along about {whole.effective_rank:,.0f} directions (effective rank, mean); "
            f"{whole.intruders:,} intruder dimensions{measured}"
        )


def _measured(whole: LayerChange) -> str:
    return f"in {whole.num_decomposed:,} of {whole.num_matrices:,} matrices"


def _words(changes: Changes) -> Iterator[str]:
    same = changes.divergence.get("base") == changes.divergence.get("parent")
    for against, tasks in changes.divergence.items():
        if not (same and against == "parent"):
            each = ", ".join(
                f"{task} {found.nats_per_token:.3f}{_error(found.error_nats)}" for task, found in tasks.items()
            )
            yield f"words: KL from {AGAINST[against]} in nats per token: {each}"


def _error(error: float | None) -> str:
    return "" if error is None else f" ± {error:.3f}"


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.2g} %"


def _in_one_line(text: str) -> str:
    words = " ".join(text.split())
    return words if len(words) <= SHOWN_CHARACTERS else words[: SHOWN_CHARACTERS - 1] + "…"
