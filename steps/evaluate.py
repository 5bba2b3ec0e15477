"""Evaluate: what a model loses on every hold-out item that the gate judges by."""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BeforeValidator, Field, SerializeAsAny

from steps.core.artifacts import Frozen, GateItems, Model, Report, Score
from steps.core.documents import Item, read_items
from steps.core.examinee import Examinee
from steps.core.item_budget import affordable
from steps.core.likelihood import continued, encode_items, first_context, prompt_of
from steps.core.prefixes import losses_by_part
from steps.core.rows import How
from steps.core.scores import Scored, Scores
from steps.core.shards import digest_of, digest_of_file, write_lines
from steps.core.workspace import Workspace
from steps.judging.asking import ask_all
from steps.methods.privacy import masked
from steps.methods.suite import Suite, suites_from_recipe

logger = logging.getLogger(__name__)
PARTS = ("anchor", "fresh", "recent")
Parts = dict[tuple[str, str], list[Item]]  # by task and part


class EvaluateConfig(Frozen):
    """How hold-out items are scored."""

    item_tokens: int = Field(
        60,
        ge=1,
        description="tokens of an item that count, of a labelled one those of its completions; the rest is cut",
    )
    labelled: How = Field("auto", description="how labelled items are written; auto: as mix.labelled says")
    budget_tokens: int | None = Field(
        None,
        ge=1,
        description="tokens that each model reads, at most: tasks without new data are judged by a sample, the same "
        "for every model, and the verdict says so; none: every item",
    )
    batch_items: int = Field(16, ge=1, description="items in one forward pass; changes no loss by more than 1e-5")
    sample_tokens: int = Field(24, ge=0, description="tokens generated per task as a sample; 0: no samples")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of the weights in the forward pass; auto: what the device is good at, float32 on a CPU"
    )
    suites: Annotated[tuple[SerializeAsAny[Suite], ...], BeforeValidator(suites_from_recipe)] = Field(
        default_factory=lambda: suites_from_recipe("instructions"),
        description="what is asked beside; instructions: whether a chat model still follows them (nothing of others)",
    )

    def pinned(self, root: Path) -> Self:
        """The same, with the digests of the files that suites read among their knobs."""
        return self.model_copy(update={"suites": tuple(suite.pinned(root) for suite in self.suites)})


def evaluate(workspace: Workspace, config: EvaluateConfig, model: Model, items: GateItems) -> Report:
    """Score a model on every gate item, or on as many as the budget pays for; what was scored before is not again.

    Raises:
        ValueError: an item's file does not hold what split wrote, an item has no tokens, or the model cannot be read.
    """
    parts = {(task, part): _read_part(workspace, items, task, part) for part in PARTS for task in getattr(items, part)}
    precision = "float32" if config.precision == "auto" else config.precision
    examinee = Examinee(workspace.at(model.path), precision, workspace.device)
    parts, sampled = _within_budget(workspace, config, examinee, parts, set(items.fresh))
    wanted = {item.id: item for rows in parts.values() for item in rows}
    first = {task: rows[0] for (task, part), rows in parts.items() if part == "anchor" and rows and task not in sampled}
    prompts = {task: item for task, item in sorted(first.items()) if config.sample_tokens}

    scores = Scores(workspace.path / "scores.jsonl", _source_of(workspace, config, model))
    missing = [item for name, item in wanted.items() if name not in scores.items]
    unsampled = [item for item in prompts.values() if item.id not in scores.samples]
    if missing or unsampled:
        logger.info("%d of %d items and %d samples to evaluate", len(missing), len(wanted), len(unsampled))
        _score_all(workspace, config, examinee, scores, missing, unsampled)
    scores.keep(wanted)

    rows = [
        {
            "id": item.id,
            "task": task,
            "part": part,
            "document": item.document,
            **scores.items[item.id].model_dump(include={"nats", "tokens", "bytes"}),
        }
        for (task, part), found in sorted(parts.items())
        for item in sorted(found, key=lambda item: item.id)
    ]
    write_lines(workspace.path / "items.jsonl", rows)
    suites = ask_all(workspace, config.suites, model, examinee)
    files = ["items.jsonl", "suites.jsonl"] if suites else ["items.jsonl"]
    means = {key: _score(found, scores.items) for key, found in sorted(parts.items()) if found}
    return Report(
        digest=digest_of([model.digest, *(digest_of_file(workspace.path / name) for name in files)]),
        path=workspace.relative(workspace.path),
        model=model.digest,
        anchor={task: score for (task, part), score in means.items() if part == "anchor"},
        fresh={task: score for (task, part), score in means.items() if part == "fresh"},
        recent={task: score for (task, part), score in means.items() if part == "recent"},
        sampled=sampled,
        samples={task: scores.samples[item.id] for task, item in prompts.items()},
        suites=suites,
    )


def _read_part(workspace: Workspace, items: GateItems, task: str, part: str) -> list[Item]:
    path = workspace.at(items.path) / task / f"{part}.jsonl"
    found, wanted = read_items(path), getattr(items, part)[task]
    if len(found) != wanted:
        raise ValueError(f"{path}: wanted {wanted:,} items, found {len(found):,}; run `perennial step split` again")
    return found


def _within_budget(
    workspace: Workspace, config: EvaluateConfig, examinee: Examinee, parts: Parts, new: set[str]
) -> tuple[Parts, dict[str, int]]:
    """The items to ask about, and of how many those of a sampled task are; the same for every model of a line."""
    if config.budget_tokens is None:
        return parts, {}
    tokenizer = examinee.tokenizer
    context = first_context(tokenizer)

    def sizes(items: Sequence[Item]) -> list[int]:
        texts = encode_items(tokenizer, items, config.item_tokens, config.labelled)
        return [len(text.row(context)[0]) for text in texts]

    every: dict[str, dict[str, Item]] = {}
    for (task, _), found in parts.items():
        every.setdefault(task, {}).update({item.id: item for item in found})
    items = {task: list(own.values()) for task, own in every.items()}
    taken = affordable(items, new, config.budget_tokens, sizes, workspace.seed)
    sampled = {task: len(own) for task, own in sorted(items.items()) if len(taken[task]) < len(own)}
    names = {item.id for own in taken.values() for item in own}
    return {key: [item for item in found if item.id in names] for key, found in parts.items()}, sampled


def _source_of(workspace: Workspace, config: EvaluateConfig, model: Model) -> str:
    knobs = config.model_dump(mode="json", exclude={"batch_items", "budget_tokens", "suites"})
    return digest_of([model.digest, workspace.code, knobs])


def _score_all(
    workspace: Workspace,
    config: EvaluateConfig,
    examinee: Examinee,
    scores: Scores,
    missing: list[Item],
    unsampled: list[Item],
) -> None:
    """Score what is missing. After a kill the remaining batches are the same, so the numbers are too, bit for bit."""
    network, tokenizer = examinee.network, examinee.tokenizer
    texts = encode_items(tokenizer, missing, config.item_tokens, config.labelled)
    context, done = first_context(tokenizer), 0
    for part, nats in losses_by_part(network, texts, context, config.batch_items):
        scores.add(
            Scored(item=text.name, nats=loss, tokens=text.num_losses, bytes=text.num_bytes)
            for text, loss in zip(part, nats, strict=True)
        )
        done += len(part)
        workspace.progress(done, len(texts), "items")
    for item in unsampled:
        prompt, ids = prompt_of(tokenizer, item, config.labelled)
        written = continued(network, tokenizer, ids, config.sample_tokens)
        scores.add(samples={item.id: masked(f"{prompt} → {written.strip()}")})


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
