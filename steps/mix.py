"""Mix: one packed stream of tokens per source, and the order in which training draws their blocks."""

import hashlib
import logging
from collections.abc import Callable, Mapping
from functools import cache
from typing import Annotated, Any

import numpy as np
from pydantic import BeforeValidator, Field, SerializeAsAny

from steps.core.artifacts import Buffer, Chosen, Frozen, MixturePlan, Model, TrainingSet
from steps.core.feed import Feed
from steps.core.method import from_recipe
from steps.core.rows import How, Writer
from steps.core.shards import digest_of, digest_of_file, write_json, write_lines
from steps.core.state import CountedDocument, buffer_documents, read_counted, replay_documents
from steps.core.streams import cut, digest_of_streams, steps_of, write_order, write_stream
from steps.core.tokenizer import end_token, load_tokenizer
from steps.core.workspace import Workspace
from steps.methods.order import Order

logger = logging.getLogger(__name__)


class MixConfig(Frozen):
    """How tokens are packed, and in which order."""

    block_tokens: int = Field(256, ge=2, description="length of a block, tokens; its first token carries no loss")
    blocks_per_step: int = Field(8, ge=1, description="blocks of one optimiser step, over all devices")
    separator: str | None = Field(
        None, description="token after every document, as the tokenizer spells it; none: its end of text"
    )
    order: Annotated[SerializeAsAny[Order], BeforeValidator(from_recipe("order"))] = Field(
        default_factory=lambda: from_recipe("order")({"method": "interleaved"}),
        description="which document of a source comes next, and which source",
    )
    document_mask: bool = Field(
        False,
        description="documents in one block do not see each other, positions begin anew with each, and its first token "
        "carries no loss; measured with blocks of 256 tokens on a CPU: under 4 % slower (small model, SmolLM2-135M)",
    )
    labelled: How = Field(
        "auto",
        description="how rows with completions are written: chat: by the model's template; plain: prompt, completion, "
        "separator; auto: chat where the model has a template",
    )
    mark_changes: bool = Field(
        False, description="mark the tokens that the older version of a document, if the buffer holds it, did not say"
    )


def mix(
    workspace: Workspace, config: MixConfig, chosen: Chosen, buffer: Buffer, model: Model, shares: MixturePlan
) -> TrainingSet:
    """Pack every source into a stream of blocks, and interleave the sources within every optimiser step.

    The files are those of `steps/core/streams.py`. Stages of the plan come one after the other. Of a steered plan each
    stream is as long as training could want it, and training draws. `used.jsonl` says which documents are in the
    streams, and how often. Labelled rows carry loss on their completions (`steps/core/rows.py`) and are never seen by
    another row, whatever `document_mask` says.

    Raises:
        ValueError: the tokenizer cannot be read or has no separator, or the plan names a source without text.
    """
    assert not (shares.steered and shares.stages), "a steered plan has one stage"
    tokenizer = load_tokenizer(workspace, model)
    older = buffer_documents(workspace, buffer) if config.mark_changes else None
    writer = Writer(tokenizer, end_token(tokenizer, config.separator), config.labelled, older)
    documents_of = _documents(workspace, chosen, buffer)
    wanted = _wanted(shares)
    sources, num_losses, used = sorted(wanted), {}, []
    labelled: dict[str, Mapping[str, float]] = {}
    compared: dict[str, tuple[int, int]] = {}
    for number, source in enumerate(sources):
        workspace.progress(number, len(sources), "sources")
        feed = Feed(source, documents_of(source), writer, config.block_tokens, apart=config.document_mask)
        packed = feed.packed(_order(workspace.seed, config, source), wanted[source])
        write_stream(workspace.path, number, packed)
        num_losses[source] = packed.num_losses
        used += [
            {"source": source, "key": key, "content_hash": text, "times": n} for (key, text), n in feed.times.items()
        ]
        if feed.is_labelled:
            labelled[source] = feed.facts(packed)
        if config.mark_changes and source.startswith("new/"):
            compared[source] = feed.compared()
    if shares.steered:
        achieved = dict(shares.tokens)
        num_blocks = sum(len(cut(num_losses[source], 0, tokens)) for source, tokens in achieved.items() if tokens)
        num_steps = -(-num_blocks // config.blocks_per_step)
    else:
        draws = _draws(workspace.seed, config, shares, sources, num_losses)
        num_steps = -(-len(draws) // config.blocks_per_step)
        write_order(workspace.path, draws, config.blocks_per_step)
        achieved = {source: sum(d[3] - d[2] for d in draws if d[0] == n) for n, source in enumerate(sources)}
    facts = {"sources": sources, "planned": shares.tokens, "achieved": achieved, "in_streams": wanted}
    facts |= _told(labelled, compared)
    write_json(workspace.path / "plan.json", facts)
    write_lines(workspace.path / "used.jsonl", used)
    replayed = sum(count for source, count in achieved.items() if source.startswith("replay/"))
    logger.info(
        "%d steps of %d blocks of %d tokens; %.2f %% of the loss tokens are replayed, planned %.2f %%%s",
        num_steps,
        config.blocks_per_step,
        config.block_tokens,
        100 * replayed / sum(achieved.values()),
        100 * shares.replay_share,
        "; training steers" if shares.steered else "",
    )
    made = [digest_of_streams(workspace.path), digest_of_file(workspace.path / "used.jsonl")]
    return TrainingSet(
        digest=digest_of([facts, shares.steered, made]),
        path=workspace.relative(workspace.path),
        num_steps=num_steps,
        blocks_per_step=config.blocks_per_step,
        block_tokens=config.block_tokens,
        planned=shares.tokens,
        achieved=achieved,
        steered=shares.steered,
    )


def _told(labelled: Mapping[str, Mapping[str, float]], compared: Mapping[str, tuple[int, int]]) -> dict[str, Any]:
    """What is told of labelled rows and of older versions, where there are any."""
    if not compared:
        return {"labelled": labelled} if labelled else {}
    with_older, without = map(sum, zip(*compared.values(), strict=True))
    logger.info("marked what changed in %d new documents; of %d the buffer holds no older version", with_older, without)
    return {"labelled": labelled, "changes": {"with_older": with_older, "without": without}}


def _wanted(shares: MixturePlan) -> dict[str, int]:
    """The loss tokens of each source's stream."""
    if not shares.steered:
        return {source: tokens for source, tokens in shares.tokens.items() if tokens}
    budget = sum(shares.tokens.values())
    return {source: min(tokens, budget) for source, tokens in shares.at_hand.items() if tokens}


def _order(seed: int, config: MixConfig, source: str) -> Callable[[np.ndarray, int, int], np.ndarray]:
    """The order of a source's documents in each epoch."""
    return lambda lengths_N, asked, epoch: config.order.documents(lengths_N, asked, epoch, _own_seed(seed, source))


def _draws(
    seed: int, config: MixConfig, shares: MixturePlan, sources: list[str], num_losses: dict[str, np.ndarray]
) -> list[tuple[int, int, int, int]]:
    """The draws of all stages, one after the other; a block on the border of two is drawn in both."""
    draws: list[tuple[int, int, int, int]] = []
    taken = dict.fromkeys(sources, 0)
    for number, stage in enumerate(shares.stages or (shares.tokens,)):
        parts = {}
        for source in sources:
            start, taken[source] = taken[source], taken[source] + stage.get(source, 0)
            parts[source] = cut(num_losses[source], start, taken[source])
        counts = {source: len(part) for source, part in parts.items()}
        groups = steps_of(sum(counts.values()), config.blocks_per_step, len(draws))
        waiting = {source: iter(part) for source, part in parts.items()}
        order = config.order.sources(counts, groups, _own_seed(seed, f"stage {number}"))
        draws += [(sources.index(source), *next(waiting[source])) for source in order]
    return draws


def _documents(workspace: Workspace, chosen: Chosen, buffer: Buffer) -> Callable[[str], list[CountedDocument]]:
    """The documents of a source, read when they are asked for."""
    new = {task.name for task in chosen.tasks if task.role == "train"}
    pool = cache(lambda: replay_documents(workspace, chosen, buffer))

    def documents(source: str) -> list[CountedDocument]:
        kind, task = source.split("/", 1)
        if kind == "replay":
            return pool().get(task, [])
        return read_counted(workspace.at(chosen.path) / task) if task in new else []

    return documents


def _own_seed(seed: int, name: str) -> int:
    return int(hashlib.sha256(f"{seed} {name}".encode()).hexdigest()[:12], 16)
