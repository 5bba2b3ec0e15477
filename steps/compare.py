"""Compare: what changed between the parent and the candidate, in weights and in words. It decides nothing."""

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal

from pydantic import Field

from steps.core.artifacts import Frozen, Model, Validation
from steps.core.differences import Changes, Contrast, Divergence
from steps.core.documents import Item, read_items
from steps.core.likelihood import Encoded, encode, first_context
from steps.core.memory import has_room
from steps.core.models import load_model, load_tokenizer
from steps.core.shards import digest_of, write_lines
from steps.core.weight_changes import MatrixChange, by_layer, farthest, in_all, weight_changes
from steps.core.word_changes import Apart, Prompt, apart, contrasts, divergence
from steps.core.workspace import Workspace
from steps.methods.privacy import masked

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


class CompareConfig(Frozen):
    """What is compared. It costs time and changes neither the version nor the verdict."""

    weights: bool = Field(True, description="whether the weights are compared, tensor by tensor")
    top_vectors: int = Field(10, ge=1, description="left singular vectors of a matrix that are looked at for intruders")
    epsilon: float = Field(0.5, gt=0, le=1, description="|cosine| below which a vector is like none of the parent's")
    decompose_teraflops: float = Field(
        1.0,
        ge=0,
        description="work on decompositions at most, about; larger models have some layers decomposed; 0: none",
    )
    divergence_items: int = Field(4, ge=0, description="validation items per task for KL to base and parent; 0: none")
    item_tokens: int = Field(60, ge=1, description="tokens of an item that count; the rest is cut off")
    batch_items: int = Field(8, ge=1, description="items in one forward pass; changes no number by more than 1e-4")
    prompts: int = Field(2, ge=0, description="validation items per task whose first words are continued; 0: none")
    prompt_tokens: int = Field(8, ge=1, description="tokens of a prompt; shorter items are passed over")
    samples: int = Field(2, ge=1, description="continuations per prompt")
    sample_tokens: int = Field(24, ge=1, description="tokens of a continuation at most")
    plausible: float = Field(0.1, gt=0, le=1, description="a token counts at this share of the largest probability")
    shown: int = Field(8, ge=1, description="continuations kept, those of the widest gap")
    precision: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="of the weights in the forward pass; auto: what the device is good at, float32 on a CPU"
    )


def compare(
    workspace: Workspace,
    config: CompareConfig,
    parent: Model,
    candidate: Model,
    references: Sequence[Model],
    validation: Validation,
) -> Changes:
    """Say how far each layer moved, how far apart the models' words are, and what only the candidate would say.

    Raises:
        ValueError: the models are not of one architecture and vocabulary, or a file does not hold what split wrote.
    """
    matrices = _weights(workspace, config, parent, candidate) if config.weights else []
    rows, found, said = _words(
        workspace, config, parent, candidate, references[0] if references else parent, validation
    )
    lines = [change.model_dump(mode="json") | {"relative": change.relative} for change in matrices]
    write_lines(workspace.path / "matrices.jsonl", lines)
    write_lines(workspace.path / "divergence.jsonl", rows)
    changes = Changes(
        digest="",
        path=workspace.relative(workspace.path),
        whole=in_all(matrices) if matrices else None,
        layers=by_layer(matrices),
        farthest=farthest(matrices),
        divergence=found,
        contrasts=tuple(said),
    )
    models = [parent.digest, candidate.digest]
    return changes.model_copy(update={"digest": digest_of([models, changes.model_dump(exclude={"path"}), lines, rows])})


def _weights(workspace: Workspace, config: CompareConfig, parent: Model, candidate: Model) -> list[MatrixChange]:
    found = weight_changes(
        workspace.at(parent.path),
        workspace.at(candidate.path),
        top_vectors=config.top_vectors,
        epsilon=config.epsilon,
        decompose_teraflops=config.decompose_teraflops,
        told=workspace.progress,
    )
    left = sum(len(change.shape) == 2 and change.intruders is None for change in found)
    if left and config.decompose_teraflops:
        logger.info("%d matrices not decomposed; raise compare.decompose_teraflops for their rank and intruders", left)
    return found


def _words(
    workspace: Workspace,
    config: CompareConfig,
    parent: Model,
    candidate: Model,
    base: Model,
    validation: Validation,
) -> tuple[list[dict[str, object]], dict[str, dict[str, Divergence]], list[Contrast]]:
    """Per item and per task how far the candidate is from base and parent; and what it says. Two models at a time."""
    tokenizer = load_tokenizer(workspace.at(candidate.path))
    items = {task: _items(workspace, validation, task) for task, number in validation.num_items.items() if number}
    texts = {
        task: encode(tokenizer, [(item.id, item.text) for item in each[: config.divergence_items]], config.item_tokens)
        for task, each in items.items()
    }
    prompts = [prompt for each in items.values() for prompt in _prompts(tokenizer, each, config)]
    if not prompts and not any(texts.values()):
        return [], {}, []
    context = first_context(tokenizer)
    ours = _load(workspace, config, candidate)
    theirs = _load(workspace, config, parent, beside=True)
    said = contrasts(
        ours,
        theirs,
        tokenizer,
        prompts,
        context,
        num_samples=config.samples,
        num_tokens=config.sample_tokens,
        plausible=config.plausible,
        seed=workspace.seed,
    )
    shown = [each.model_copy(update={"text": masked(each.text)}) for each in said[: config.shown]]
    from_parent = _apart(workspace, config, ours, theirs, texts, context)
    if base.digest == parent.digest or not from_parent:
        measured = {"base": from_parent, "parent": from_parent}
    else:
        del theirs
        theirs = _load(workspace, config, base, beside=True)
        measured = {"base": _apart(workspace, config, ours, theirs, texts, context), "parent": from_parent}
    rows = [
        {"against": against, "task": task, "item": each.name, "nats": each.nats, "tokens": each.tokens}
        for against, tasks in measured.items()
        for task, found in tasks.items()
        for each in found
    ]
    means = {
        against: {task: divergence(each) for task, each in tasks.items()}
        for against, tasks in measured.items()
        if tasks
    }
    return rows, means, shown


def _load(workspace: Workspace, config: CompareConfig, model: Model, *, beside: bool = False) -> "PreTrainedModel":
    """A model; beside another one on the processor where the GPU has no room for two: slow is better than broken."""
    dtype = "float32" if config.precision == "auto" else config.precision
    num_bytes = model.num_parameters * (2 if dtype == "bfloat16" else 4)
    device = workspace.device if not beside or has_room(workspace.device, num_bytes) else "cpu"
    return load_model(workspace.at(model.path), dtype, device)


def _items(workspace: Workspace, validation: Validation, task: str) -> list[Item]:
    """The items of a task in the order of their ids, which are hashes: the first are any, and the same next time."""
    path = workspace.at(validation.path) / task / "validation.jsonl"
    found, wanted = read_items(path), validation.num_items[task]
    if len(found) != wanted:
        raise ValueError(f"{path}: wanted {wanted:,} items, found {len(found):,}; run `perennial step split` again")
    return sorted(found, key=lambda item: item.id)


def _prompts(tokenizer: "PreTrainedTokenizerBase", items: Sequence[Item], config: CompareConfig) -> list[Prompt]:
    found: list[Prompt] = []
    for item in items:
        if len(found) == config.prompts:
            break
        (text,) = encode(tokenizer, [(item.id, item.text)], config.prompt_tokens)
        if len(text.tokens) == config.prompt_tokens:
            found.append(Prompt(name=item.id, task=item.task, tokens=text.tokens))
    return found


def _apart(
    workspace: Workspace,
    config: CompareConfig,
    ours: "PreTrainedModel",
    theirs: "PreTrainedModel",
    texts: dict[str, list[Encoded]],
    context: int,
) -> dict[str, list[Apart]]:
    found = {}
    for task, each in texts.items():
        if each:
            found[task] = apart(ours, theirs, each, context, config.batch_items)
            workspace.progress(len(found), len(texts), "tasks apart")
    return found
