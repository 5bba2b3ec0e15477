"""Mix: one packed stream of tokens per source, and the order in which training draws their blocks."""

import hashlib
import itertools
import logging
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Annotated

import numpy as np
from pydantic import BeforeValidator, Field, SerializeAsAny

from steps.core.artifacts import Buffer, Chosen, Frozen, MixturePlan, Model, TrainingSet
from steps.core.method import from_recipe
from steps.core.shards import digest_of, digest_of_file, write_json, write_lines
from steps.core.state import CountedDocument, read_counted, replay_documents
from steps.core.streams import cut, digest_of_streams, pack, steps_of, write_order, write_stream
from steps.core.tokenizer import end_token, load_tokenizer, tokens_of
from steps.core.workspace import Workspace
from steps.methods.order import Order

if TYPE_CHECKING:  # transformers takes seconds to import
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

AHEAD_TOKENS = 1 << 16  # that are tokenised at a time


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


def mix(
    workspace: Workspace, config: MixConfig, chosen: Chosen, buffer: Buffer, model: Model, shares: MixturePlan
) -> TrainingSet:
    """Pack every source into a stream of blocks, and interleave the sources within every optimiser step.

    The files are those of `steps/core/streams.py`. Stages of the plan come one after the other. Of a steered plan each
    stream is as long as training could want it, and training draws. `used.jsonl` says which documents are in the
    streams, and how often.

    Raises:
        ValueError: the tokenizer cannot be read or has no separator, or the plan names a source without text.
    """
    assert not (shares.steered and shares.stages), "a steered plan has one stage"
    tokenizer = load_tokenizer(workspace, model)
    end = end_token(tokenizer, config.separator)
    documents_of = _documents(workspace, chosen, buffer)
    wanted = _wanted(shares)
    sources, num_losses, used = sorted(wanted), {}, []
    for number, source in enumerate(sources):
        workspace.progress(number, len(sources), "sources")
        times: dict[tuple[str, str], int] = {}
        pieces = _pieces(workspace.seed, config, tokenizer, end, source, documents_of(source), wanted[source], times)
        packed = pack(pieces, wanted[source], config.block_tokens, apart=config.document_mask)
        write_stream(workspace.path, number, packed)
        num_losses[source] = packed.num_losses
        used += [{"source": source, "key": key, "content_hash": text, "times": n} for (key, text), n in times.items()]
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


def _wanted(shares: MixturePlan) -> dict[str, int]:
    """The loss tokens of each source's stream."""
    if not shares.steered:
        return {source: tokens for source, tokens in shares.tokens.items() if tokens}
    budget = sum(shares.tokens.values())
    return {source: min(tokens, budget) for source, tokens in shares.at_hand.items() if tokens}


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


def _pieces(
    seed: int,
    config: MixConfig,
    tokenizer: "PreTrainedTokenizerBase",
    end: int,
    source: str,
    documents: list[CountedDocument],
    wanted: int,
    times: dict[tuple[str, str], int],
) -> Iterator[np.ndarray]:
    """The documents of a source as tokens, each with its separator, without end; what is never asked for is not read.

    `times` counts how often each was begun.

    Raises:
        ValueError: there is no text.
    """
    if not sum(document.num_tokens for document in documents):
        raise ValueError(f"{source}: plan wants {wanted:,} tokens, found no text; plan again")
    lengths_N = np.array([document.num_tokens + (not config.document_mask) for document in documents])
    asked = (-(-wanted // (config.block_tokens - 1)) + config.document_mask) * config.block_tokens
    cached: dict[int, np.ndarray] = {}
    left = asked
    for epoch in itertools.count():
        order = config.order.documents(lengths_N, asked, epoch, _own_seed(seed, source)).tolist()
        while order:
            held = np.cumsum(lengths_N[order])
            count = 1 + int(np.searchsorted(held, max(1, min(AHEAD_TOKENS, left))))
            ahead, order = order[:count], order[count:]
            texts = [documents[place].text for place in ahead if place not in cached]
            tokens = tokens_of(tokenizer, texts)
            for place in ahead:
                if place not in cached:
                    cached[place] = np.array([*next(tokens), end], dtype=np.int32)
                name = (documents[place].key, documents[place].content_hash)
                times[name] = times.get(name, 0) + 1
                left -= int(lengths_N[place])
                yield cached[place]


def _own_seed(seed: int, name: str) -> int:
    return int(hashlib.sha256(f"{seed} {name}".encode()).hexdigest()[:12], 16)
