"""Mix: the blocks of tokens that training reads, in order."""

import hashlib
import logging
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from pydantic import Field
from safetensors.numpy import save

from steps.core.artifacts import Buffer, Chosen, Frozen, MixturePlan, Model, TrainingSet
from steps.core.shards import digest_of, digest_of_file, write_atomic, write_json, write_lines
from steps.core.state import CountedDocument, read_counted, replay_documents
from steps.core.tokenizer import end_token, load_tokenizer, tokens_of
from steps.core.workspace import Workspace

if TYPE_CHECKING:  # transformers takes seconds to import
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

AHEAD = 64  # documents that are tokenised at a time
PADDING = -1  # the source of a block that only fills the last step


class MixConfig(Frozen):
    """How tokens are packed."""

    block_tokens: int = Field(256, ge=2, description="length of a block, tokens; its first token carries no loss")
    blocks_per_step: int = Field(8, ge=1, description="blocks of one optimiser step, over all devices")
    separator: str | None = Field(
        None, description="token after every document, as the tokenizer spells it; none: its end of text"
    )


def mix(
    workspace: Workspace, config: MixConfig, chosen: Chosen, buffer: Buffer, model: Model, shares: MixturePlan
) -> TrainingSet:
    """Pack every source into blocks and interleave the sources within every optimiser step.

    `blocks.safetensors`, for N blocks of T tokens: `input_ids` int32 [N, T]; `loss_mask` uint8 [N, T], 1 where the
    token at that place is predicted with loss, place 0 never; `source` int32 [N], the place in `plan.json`'s sources,
    -1 for blocks that only fill the last step. `used.jsonl` says which documents are in it, and how often.

    Raises:
        ValueError: the tokenizer cannot be read or has no separator, or the plan names a source without text.
    """
    tokenizer = load_tokenizer(workspace, model)
    end = end_token(tokenizer, config.separator)
    texts = _texts(workspace, chosen, buffer)
    sources = sorted(shares.tokens)
    blocks, masks, used = [], [], []
    for done, source in enumerate(sources):
        workspace.progress(done, len(sources), "sources")
        if not sum(document.num_tokens for document in texts.get(source, [])):
            raise ValueError(f"{source}: plan wants {shares.tokens[source]:,} tokens, found no text; plan again")
        ids, mask, times = _pack(workspace, config, tokenizer, end, source, texts[source], shares.tokens[source])
        blocks.append(ids)
        masks.append(mask)
        used += [{"source": source, "key": key, "content_hash": content, "times": n} for (key, content), n in times]
    order = interleave([len(block) for block in blocks], config.blocks_per_step)
    num_steps = -(-len(order) // config.blocks_per_step)
    shape = (num_steps * config.blocks_per_step, config.block_tokens)
    input_ids, loss_mask = np.full(shape, end, dtype=np.int32), np.zeros(shape, dtype=np.uint8)
    source_N = np.full(shape[0], PADDING, dtype=np.int32)
    taken = [0] * len(sources)
    for place, which in enumerate(order):
        input_ids[place], loss_mask[place] = blocks[which][taken[which]], masks[which][taken[which]]
        source_N[place] = which
        taken[which] += 1
    achieved = {source: int(loss_mask[source_N == which].sum()) for which, source in enumerate(sources)}
    path = workspace.path / "blocks.safetensors"
    write_atomic(path, save({"input_ids": input_ids, "loss_mask": loss_mask, "source": source_N}))
    facts = {"sources": sources, "planned": shares.tokens, "achieved": achieved, "order": order}
    write_json(workspace.path / "plan.json", facts)
    write_lines(workspace.path / "used.jsonl", used)
    replayed = sum(count for source, count in achieved.items() if source.startswith("replay/"))
    logger.info(
        "%d steps of %d blocks of %d tokens; %.2f %% of the loss tokens are replayed, planned %.2f %%",
        num_steps,
        config.blocks_per_step,
        config.block_tokens,
        100 * replayed / sum(achieved.values()),
        100 * shares.replay_share,
    )
    return TrainingSet(
        digest=digest_of([facts, digest_of_file(path), digest_of_file(workspace.path / "used.jsonl")]),
        path=workspace.relative(workspace.path),
        num_steps=num_steps,
        blocks_per_step=config.blocks_per_step,
        block_tokens=config.block_tokens,
        planned=shares.tokens,
        achieved=achieved,
    )


def interleave(counts: list[int], blocks_per_step: int) -> list[int]:
    """The source of every block, so that each step is as near the shares of the whole as it can be.

    A step's places go, one by one, to the source that is furthest behind its share of all steps so far: the largest
    remainder, with what the steps before left over.
    """
    total = sum(counts)
    taken = [0] * len(counts)
    order: list[int] = []
    for start in range(0, total, blocks_per_step):
        size = min(blocks_per_step, total - start)
        for _ in range(size):
            behind = [count * (start + size) - done * total for count, done in zip(counts, taken, strict=True)]
            which = max(
                (source for source, count in enumerate(counts) if taken[source] < count),
                key=lambda source: (behind[source], -source),
            )
            taken[which] += 1
            order.append(which)
    return order


def _texts(workspace: Workspace, chosen: Chosen, buffer: Buffer) -> dict[str, list[CountedDocument]]:
    """The documents of every source."""
    pool = replay_documents(workspace, chosen, buffer)
    texts = {f"replay/{task}": documents for task, documents in pool.items()}
    for task in chosen.tasks:
        if task.role == "train":
            texts[f"new/{task.name}"] = read_counted(workspace.at(chosen.path) / task.name)
    return texts


def _pack(
    workspace: Workspace,
    config: MixConfig,
    tokenizer: "PreTrainedTokenizerBase",
    end: int,
    source: str,
    documents: list[CountedDocument],
    wanted: int,
) -> tuple[np.ndarray, np.ndarray, list[tuple[tuple[str, str], int]]]:
    """Blocks with exactly the wanted loss tokens, their mask, and how often each document was begun."""
    per_block = config.block_tokens - 1
    num_blocks = -(-wanted // per_block)
    flat = np.empty(num_blocks * config.block_tokens, dtype=np.int32)
    times: dict[tuple[str, str], int] = {}
    filled = 0
    for document, tokens in _stream(workspace.seed, tokenizer, source, documents):
        piece = [*tokens, end][: len(flat) - filled]
        flat[filled : filled + len(piece)] = piece
        filled += len(piece)
        name = (document.key, document.content_hash)
        times[name] = times.get(name, 0) + 1
        if filled == len(flat):
            break
    mask = np.ones((num_blocks, config.block_tokens), dtype=np.uint8)
    mask[:, 0] = 0
    mask[-1, 1 + wanted - (num_blocks - 1) * per_block :] = 0
    return flat.reshape(mask.shape), mask, list(times.items())


def _stream(
    seed: int, tokenizer: "PreTrainedTokenizerBase", source: str, documents: list[CountedDocument]
) -> Iterator[tuple[CountedDocument, list[int]]]:
    """The documents of a source with their tokens, without end; every epoch in an order of its own."""
    own = int(hashlib.sha256(source.encode()).hexdigest()[:8], 16)
    cache: dict[int, list[int]] = {}
    epoch = 0
    while True:
        order = np.random.default_rng([seed, own, epoch]).permutation(len(documents)).tolist()
        for start in range(0, len(order), AHEAD):
            ahead = [place for place in order[start : start + AHEAD] if place not in cache]
            cache.update(zip(ahead, tokens_of(tokenizer, [documents[place].text for place in ahead]), strict=True))
            for place in order[start : start + AHEAD]:
                yield documents[place], cache[place]
        epoch += 1
