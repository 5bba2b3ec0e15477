"""The small model: a Llama of four million parameters, trained here on general text, for cheap experiments.

Its budget is counted in tokens, not read from a clock, so that the same text makes the same model. It has seen all of
the general text, hold-outs too: it is a base that has something to forget, not one to boast with.
"""

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.edge.base_models import CACHE, SMALL
from pipelines.edge.connectors import write_source
from steps.core.artifacts import Model, TrainingSet, TrainingState, Validation
from steps.core.models import describe_model, load_tokenizer, publish, quiet, writing
from steps.core.shards import digest_of, read_lines, write_json
from steps.core.streams import pack, write_order, write_stream
from steps.core.workspace import Workspace
from steps.train import TrainConfig, train

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

SOURCE = "wikipedia:gensim"
SEED = 20
TOKENS_PER_MINUTE = 120_000  # two quiet cores read 260,000; the rest is for slower ones
BLOCK_TOKENS, BLOCKS_PER_STEP = 256, 4  # at 200,000 tokens 0.45 nats/token better than 8, 0.1 than 2
VOCABULARY = 4096
END = "<|end|>"
SHAPE = {
    "vocab_size": VOCABULARY,
    "hidden_size": 192,
    "intermediate_size": 512,
    "num_hidden_layers": 8,
    "num_attention_heads": 6,
    "num_key_value_heads": 6,
    "max_position_embeddings": 1024,
    "initializer_range": 0.05,
    "tie_word_embeddings": True,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
TRAIN: dict[str, Any] = {
    "params": {"method": "full"},
    "schedule": {"method": "rewarmed-cosine", "warmup_share": 0.05, "min_ratio": 0.05},
    "learning_rate": 5e-3,
    "optimizer": {"method": "adamw", "weight_decay": 0.1},
    "micro_batch_blocks": 4,
    "precision": "float32",
    "checkpoint_steps": 50,
    "validation_items": 0,
}


def _silent(done: int, total: int, what: str) -> None:
    logger.debug("%s: %d of %d", what, done, total)


def build_small_model(
    root: Path, minutes: float = 10.0, progress: Callable[[int, int, str], None] = _silent, source: str = SOURCE
) -> Model:
    """The small model of a workspace, trained if its configuration and text are new; a run that stopped goes on.

    Raises:
        ValueError: the source holds too little text.
        OSError: the disk is full.
    """
    texts = _texts(root, source)
    num_steps = max(1, round(minutes * TOKENS_PER_MINUTE) // (BLOCK_TOKENS * BLOCKS_PER_STEP))
    identity = digest_of([SHAPE, TRAIN, SEED, END, BLOCK_TOKENS, BLOCKS_PER_STEP, num_steps, texts])
    folder = root / CACHE / f"small-{identity[:12]}"
    if not (folder / "config.json").is_file():
        work = folder.with_name(f".{folder.name}")
        workspace = Workspace(root=root, path=work / "train", seed=SEED, progress=progress)
        workspace.path.mkdir(parents=True, exist_ok=True)
        with writing(folder):
            made = _train(workspace, work, texts, num_steps)
            publish(made, folder)
        shutil.rmtree(work)
    write_json(root / CACHE / SMALL, {"folder": folder.name})
    return describe_model(Workspace(root=root, path=folder, seed=SEED), folder)


def _texts(root: Path, source: str) -> list[str]:
    path = root / CACHE / ".small-text.jsonl"
    try:
        write_source(source, path)
        return [row["text"] for row in read_lines(path)]
    finally:
        path.unlink(missing_ok=True)


def _train(workspace: Workspace, work: Path, texts: Sequence[str], num_steps: int) -> Path:
    _write_parent(work / "parent", texts)
    parent = describe_model(workspace, work / "parent")
    training_set = _write_blocks(workspace, work, texts, num_steps)
    config = TrainConfig.model_validate(TRAIN)
    nothing = Validation(digest="none", path=training_set.path, num_items={})
    trained = train(workspace, config, parent, TrainingState(digest="none"), training_set, nothing)
    losses = [row["train/loss_nats_per_token"] for row in list(read_lines(workspace.at(trained.history)))[1:]]
    tail = losses[-max(1, len(losses) // 20) :]
    tokens = num_steps * BLOCK_TOKENS * BLOCKS_PER_STEP
    logger.info("small model: %.3f nats/token over its last steps, %d tokens read", sum(tail) / len(tail), tokens)
    return workspace.at(trained.model.path)


def _write_parent(folder: Path, texts: Sequence[str]) -> None:
    """The untrained model and its tokenizer, a byte-level BPE learned from the text."""
    import torch
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from tokenizers.trainers import BpeTrainer
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    tokenizer = Tokenizer(BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer.train_from_iterator(
        texts,
        BpeTrainer(
            vocab_size=VOCABULARY, special_tokens=[END], initial_alphabet=alphabet, show_progress=False, min_frequency=2
        ),
    )
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(SEED)
        LlamaForCausalLM(LlamaConfig(**SHAPE)).to(torch.float32).save_pretrained(folder)
    length = SHAPE["max_position_embeddings"]
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=END, eos_token=END, pad_token=END, model_max_length=length
    ).save_pretrained(folder)


def _write_blocks(workspace: Workspace, work: Path, texts: Sequence[str], num_steps: int) -> TrainingSet:
    """The text in a drawn order, packed; drawn anew where it is read again."""
    number, num_losses = num_steps * BLOCKS_PER_STEP, BLOCK_TOKENS - 1
    stream = _stream(work / "parent", texts, number * BLOCK_TOKENS)
    write_stream(work, 0, pack(iter([stream.numpy()]), number * num_losses, BLOCK_TOKENS))
    write_order(work, [(0, block, 0, num_losses) for block in range(number)], BLOCKS_PER_STEP)
    (work / "plan.json").write_text(json.dumps({"sources": ["general"]}), encoding="utf-8")
    tokens = {"general": number * (BLOCK_TOKENS - 1)}
    return TrainingSet(
        digest=digest_of(stream.tolist()),
        path=workspace.relative(work),
        num_steps=num_steps,
        blocks_per_step=BLOCKS_PER_STEP,
        block_tokens=BLOCK_TOKENS,
        planned=tokens,
        achieved=tokens,
    )


def _stream(parent: Path, texts: Sequence[str], num_tokens: int) -> "torch.Tensor":
    import torch

    tokenizer = load_tokenizer(parent)
    encoded = tokenizer(list(texts), add_special_tokens=False, verbose=False)["input_ids"]
    generator = torch.Generator().manual_seed(SEED)
    stream: list[int] = []
    while len(stream) < num_tokens:
        for number in torch.randperm(len(encoded), generator=generator).tolist():
            stream += [*encoded[number], tokenizer.eos_token_id]
    return torch.tensor(stream[:num_tokens], dtype=torch.int32)
