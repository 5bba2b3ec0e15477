"""What training and merging need, tiny: a random model, packed blocks, validation items."""

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tokenizers.pre_tokenizers import ByteLevel

from pipelines.edge.base_models import build_tiny
from steps.core.artifacts import Model, TrainingSet, TrainingState, Validation
from steps.core.models import describe_model
from steps.core.shards import write_json, write_lines
from steps.core.streams import pack, write_order, write_stream
from steps.core.workspace import Workspace

TEXT = "The quick brown fox jumps over the lazy dog, again and again, until the dog gets up and walks away. "
STATE = TrainingState(digest="no state")


@dataclass
class Told:
    """What a step reported: (step, metrics), in order."""

    rows: list[tuple[int, dict[str, float]]] = field(default_factory=list)


def tiny_model(folder: Path, seed: int = 0) -> Path:
    """A random tiny Llama with a byte-level tokenizer in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    build_tiny(folder, seed)
    return folder


def tiny_workspace(root: Path, stage: str = "train", seed: int = 20, told: Told | None = None) -> Workspace:
    """A workspace whose reports are kept."""
    (root / "data" / stage).mkdir(parents=True, exist_ok=True)
    kept = told or Told()
    return Workspace(
        root=root,
        path=root / "data" / stage,
        seed=seed,
        report=lambda step, metrics: kept.rows.append((step, dict(metrics))),
    )


def parent_model(workspace: Workspace, name: str = "parent", seed: int = 0) -> Model:
    """The artifact of a tiny model in a workspace."""
    return describe_model(workspace, tiny_model(workspace.root / name, seed))


def training_set(workspace: Workspace, num_steps: int = 8, per_step: int = 2, block_tokens: int = 32) -> TrainingSet:
    """Blocks of one text from two sources in turn; the last block carries loss on half of its tokens."""
    path = workspace.root / "data" / "mix"
    path.mkdir(parents=True, exist_ok=True)
    number = num_steps * per_step
    text = (TEXT * (1 + number * block_tokens // len(TEXT)))[: number * block_tokens]
    letters = sorted(ByteLevel.alphabet())  # the tiny model's tokens, after four special ones
    tokens = [4 + letters.index(letter) for letter in text.replace(" ", "Ġ")]
    of_both = np.array(tokens, dtype=np.int32).reshape(-1, 2, block_tokens)
    losses = block_tokens - 1
    for source in range(2):
        write_stream(path, source, pack(iter(of_both[:, source]), number // 2 * losses, block_tokens))
    draws = [(place % 2, place // 2, 0, losses) for place in range(number)]
    draws[-1] = (1, number // 2 - 1, 0, block_tokens // 2 - 1)
    write_order(path, draws, per_step)
    write_json(path / "plan.json", {"sources": ["new/alpha", "replay/general"]})
    half = number // 2 * (block_tokens - 1)
    counts = {"new/alpha": half, "replay/general": half - block_tokens // 2}
    return TrainingSet(
        digest=f"set {num_steps} {per_step} {block_tokens}",
        path=workspace.relative(path),
        num_steps=num_steps,
        blocks_per_step=per_step,
        block_tokens=block_tokens,
        planned=counts,
        achieved=counts,
    )


def validation_items(workspace: Workspace) -> Validation:
    """Three items of one task."""
    path = workspace.root / "data" / "split"
    rows = [{"id": str(k), "task": "alpha", "document": str(k), "text": TEXT[k : k + 20 + k]} for k in range(3)]
    write_lines(path / "alpha" / "validation.jsonl", rows)
    return Validation(digest="items", path=workspace.relative(path), num_items={"alpha": 3})


def rows_of(path: Path) -> list[dict[str, float]]:
    """The rows of a JSON-lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
