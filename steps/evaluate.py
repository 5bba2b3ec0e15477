"""Evaluate: what a model loses on every hold-out item that the gate judges by."""

import logging
import math
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from steps.core.artifacts import Frozen, GateItems, Model, Report, Score
from steps.core.documents import Item, read_items
from steps.core.likelihood import batches, continuation, encode, first_context, summed_losses
from steps.core.models import load_model, load_tokenizer
from steps.core.shards import canonical_json, digest_of, digest_of_file, write_lines
from steps.core.workspace import Workspace
from steps.methods.privacy import masked

logger = logging.getLogger(__name__)
PARTS = ("anchor", "fresh")
PROMPT_WORDS = 12


class EvaluateConfig(Frozen):
    """How hold-out items are scored."""

    item_tokens: int = Field(60, ge=1, description="tokens of an item that count; the rest is cut off")
    batch_items: int = Field(16, ge=1, description="items in one forward pass; changes no loss by more than 1e-5")
    sample_tokens: int = Field(24, ge=0, description="tokens generated per task as a sample; 0: no samples")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of the weights in the forward pass; auto: what the device is good at, float32 on a CPU"
    )


class Scored(Frozen):
    """What the model made of one item: the loss summed over its tokens, and what they cover."""

    item: str
    nats: float
    tokens: int
    bytes: int


class Cached(Frozen):
    """One line of the cache: a batch or a sample, and what decided it. A batch is cached whole or not at all."""

    source: str = Field(description="digest of the model, the code and the knobs that decide the numbers")
    items: tuple[Scored, ...] = ()
    samples: dict[str, str] = Field(default_factory=dict, description="item -> prompt and continuation")


def evaluate(workspace: Workspace, config: EvaluateConfig, model: Model, items: GateItems) -> Report:
    """Score a model on every gate item; what was scored before is read from the cache beside the report.

    Raises:
        ValueError: an item's file does not hold what split wrote, an item has no tokens, or the model cannot be read.
    """
    parts = {(task, part): _read_part(workspace, items, task, part) for part in PARTS for task in getattr(items, part)}
    wanted = {item.id: item for rows in parts.values() for item in rows}
    first = {task: rows[0] for (task, part), rows in parts.items() if part == "anchor" and rows}
    prompts = {task: item for task, item in sorted(first.items()) if config.sample_tokens}

    cache, source = workspace.path / "scores.jsonl", _source_of(workspace, config, model)
    scored, samples = _read_cache(cache, source)
    missing = [item for name, item in wanted.items() if name not in scored]
    unsampled = [item for item in prompts.values() if item.id not in samples]
    if missing or unsampled:
        logger.info("%d of %d items and %d samples to evaluate", len(missing), len(wanted), len(unsampled))
        _fill_cache(workspace, config, model, cache, source, missing, unsampled)
        scored, samples = _read_cache(cache, source)

    rows = [
        {
            "id": item.id,
            "task": task,
            "part": part,
            "document": item.document,
            **scored[item.id].model_dump(include={"nats", "tokens", "bytes"}),
        }
        for (task, part), found in sorted(parts.items())
        for item in sorted(found, key=lambda item: item.id)
    ]
    write_lines(workspace.path / "items.jsonl", rows)
    scores = {key: _score(found, scored) for key, found in sorted(parts.items()) if found}
    return Report(
        digest=digest_of([model.digest, digest_of_file(workspace.path / "items.jsonl")]),
        path=workspace.relative(workspace.path),
        model=model.digest,
        anchor={task: score for (task, part), score in scores.items() if part == "anchor"},
        fresh={task: score for (task, part), score in scores.items() if part == "fresh"},
        samples={task: samples[item.id] for task, item in prompts.items()},
    )


def _read_part(workspace: Workspace, items: GateItems, task: str, part: str) -> list[Item]:
    path = workspace.at(items.path) / task / f"{part}.jsonl"
    found, wanted = read_items(path), getattr(items, part)[task]
    if len(found) != wanted:
        raise ValueError(f"{path}: wanted {wanted:,} items, found {len(found):,}; run `perennial step split` again")
    return found


def _source_of(workspace: Workspace, config: EvaluateConfig, model: Model) -> str:
    knobs = config.model_dump(mode="json", exclude={"batch_items"})
    return digest_of([model.digest, workspace.code, knobs])


def _read_cache(path: Path, source: str) -> tuple[dict[str, Scored], dict[str, str]]:
    """What this source scored and sampled; a line that a kill cut short counts as never written."""
    scored: dict[str, Scored] = {}
    samples: dict[str, str] = {}
    lines = path.read_bytes().splitlines() if path.exists() else []
    for line in lines:
        try:
            entry = Cached.model_validate_json(line)
        except ValidationError:
            continue
        if entry.source == source:
            scored.update({row.item: row for row in entry.items})
            samples.update(entry.samples)
    return scored, samples


def _append(path: Path, entry: Cached) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        torn = file.read(1) not in (b"", b"\n")  # a line that a kill cut short must not swallow this one
        file.write(b"\n" * torn + canonical_json(entry.model_dump()).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())


def _fill_cache(
    workspace: Workspace,
    config: EvaluateConfig,
    model: Model,
    cache: Path,
    source: str,
    missing: list[Item],
    unsampled: list[Item],
) -> None:
    """Score what is missing. After a kill the remaining batches are the same, so the numbers are too, bit for bit."""
    folder = workspace.at(model.path)
    network = load_model(folder, "float32" if config.precision == "auto" else config.precision, workspace.device)
    tokenizer = load_tokenizer(folder)
    texts = encode(tokenizer, [(item.id, item.text) for item in missing], config.item_tokens)
    context, done = first_context(tokenizer), 0
    for batch in batches(texts, config.batch_items):
        nats = summed_losses(network, batch, context)
        rows = (
            Scored(item=text.name, nats=loss, tokens=len(text.tokens), bytes=text.num_bytes)
            for text, loss in zip(batch, nats, strict=True)
        )
        _append(cache, Cached(source=source, items=tuple(rows)))
        done += len(batch)
        workspace.progress(done, len(texts), "items")
    for item in unsampled:
        prompt = " ".join(item.text.split()[:PROMPT_WORDS])
        written = continuation(network, tokenizer, prompt, config.sample_tokens)
        _append(cache, Cached(source=source, samples={item.id: masked(f"{prompt} → {written.strip()}")}))


def _score(found: Iterable[Item], scored: Mapping[str, Scored]) -> Score:
    """The mean over items of nats/token, which the gate tests, and bits per byte over all bytes."""
    items = list(found)
    rows = [scored[item.id] for item in items]
    return Score(
        loss_nats_per_token=math.fsum(row.nats / row.tokens for row in rows) / len(rows),
        bits_per_byte=math.fsum(row.nats for row in rows) / math.log(2) / sum(row.bytes for row in rows),
        num_items=len(rows),
        num_documents=len({item.document for item in items}),
        num_tokens=sum(row.tokens for row in rows),
    )
