"""Small things to test with: a workspace, documents, corpora, a tokenizer, and the data stages in one call."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import LlamaConfig, PreTrainedTokenizerFast

from steps.clean import CleanConfig, clean
from steps.core.artifacts import (
    Buffer,
    Chosen,
    Corpus,
    Holdout,
    HoldoutState,
    Index,
    Kept,
    Model,
    Role,
    State,
    TaskFacts,
    Validation,
)
from steps.core.documents import Document, content_hash
from steps.core.shards import digest_of, write_lines
from steps.core.workspace import Workspace
from steps.select import SelectConfig, select
from steps.split import SplitConfig, split

END = "<|end|>"
WORDS = [
    first + second for first in ("am", "bel", "cor", "dun", "el", "fir") for second in ("a", "eth", "in", "or", "um")
]

NOTHING_HELD = SplitConfig(gate_share=0.0, validation_share=0.0)
NO_ITEMS = Validation(digest="none", path="data/split", num_items={})


def build_workspace(root: Path, stage: str = "stage", seed: int = 20) -> Workspace:
    """A workspace in which a stage writes below `data/<stage>`."""
    path = root / "data" / stage
    path.mkdir(parents=True, exist_ok=True)
    return Workspace(root=root, path=path, seed=seed)


def at_stage(workspace: Workspace, stage: str) -> Workspace:
    """The same workspace, for another stage."""
    path = workspace.root / "data" / stage
    path.mkdir(parents=True, exist_ok=True)
    return replace(workspace, path=path)


def prose(number: int, num_words: int = 40) -> str:
    """A text of its own for every number: sentences of ten words, no two texts alike."""
    state = number * 2654435761 + 12345
    words = []
    for place in range(num_words):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        word = WORDS[(state >> 33) % len(WORDS)]
        words.append(word.capitalize() if place % 10 == 0 else word + "." if place % 10 == 9 else word)
    return " ".join(words)


def build_document(key: str, text: str, task: str = "topics", batch: str = "batch-1") -> Document:
    """A document with plausible facts."""
    return Document(
        key=key,
        content_hash=content_hash(text),
        text=text,
        task=task,
        source="test",
        language="en",
        time="2024-01-01T00:00:00Z",
        licence="CC0-1.0",
        batch=batch,
    )


def build_corpus(
    workspace: Workspace,
    documents: Sequence[Document],
    task: str = "topics",
    role: Role = "train",
    withdrawn: Sequence[str] = (),
    quarantined: Mapping[str, int] | None = None,
    place: str = "ingest",
) -> Corpus:
    """What ingest makes of some documents."""
    path = workspace.root / "data" / place / task
    write_lines(path / "documents.jsonl", (document.model_dump() for document in documents))
    aside = dict(quarantined or {})
    return Corpus(
        digest=digest_of([[document.model_dump() for document in documents], list(withdrawn)]),
        task=TaskFacts(name=task, role=role),
        path=workspace.relative(path),
        num_landed=len(documents) + sum(aside.values()),
        num_documents=len(documents),
        quarantined=aside,
        withdrawn=tuple(withdrawn),
    )


def build_texts(
    workspace: Workspace, texts: Mapping[str, str], task: str = "topics", role: Role = "train", **facts: Any
) -> Corpus:
    """A corpus from keys and texts."""
    documents = [build_document(key, text, task) for key, text in texts.items()]
    return build_corpus(workspace, documents, task, role, **facts)


def build_model(workspace: Workspace) -> Model:
    """A model folder without weights: a byte-level tokenizer and the configuration of a tiny Llama."""
    folder = workspace.root / "models" / "tiny"
    folder.mkdir(parents=True, exist_ok=True)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    backend = Tokenizer(models.BPE(vocab={letter: place for place, letter in enumerate(alphabet)}, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=END)
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        eos_token_id=tokenizer.eos_token_id,
        bos_token_id=None,
    )
    config.save_pretrained(folder)
    return Model(digest=digest_of("tiny"), path=workspace.relative(folder), num_parameters=0)


def empty(kind: type[State]) -> Any:
    """A state before the first refresh."""
    return kind(digest=digest_of([]))


@dataclass(frozen=True)
class Data:
    """What the data stages of one refresh made, and the state after it."""

    holdout: Holdout
    kept: Kept
    chosen: Chosen
    index: Index = field(default_factory=lambda: empty(Index))
    state: HoldoutState = field(default_factory=lambda: empty(HoldoutState))
    buffer: Buffer = field(default_factory=lambda: empty(Buffer))


def run_data_stages(
    workspace: Workspace,
    corpus: Mapping[str, Corpus],
    before: Data | None = None,
    splitting: SplitConfig = NOTHING_HELD,
    cleaning: CleanConfig | None = None,
    refresh: str = "first",
) -> Data:
    """Split, clean and select, in folders of their own for every refresh."""
    state = before.state if before else empty(HoldoutState)
    index = before.index if before else empty(Index)
    buffer = before.buffer if before else empty(Buffer)
    holdout = split(at_stage(workspace, f"{refresh}/split"), splitting, corpus, state)
    model = build_model(workspace)
    cleaning = cleaning or CleanConfig()
    kept = clean(at_stage(workspace, f"{refresh}/clean"), cleaning, corpus, holdout, index, buffer, model, {})
    chosen = select(at_stage(workspace, f"{refresh}/select"), SelectConfig(), kept, model, buffer, holdout.validation)
    return Data(holdout, kept, chosen, index=kept.index, state=holdout.state, buffer=buffer)


def rows(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON lines file."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder, by its relative name."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }
