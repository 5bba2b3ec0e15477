"""Checkpoint folders: what one must hold, its digest, loading, saving, and the loss of every token.

Weights are read from safetensors and nothing else: a pickle can run code when it is opened. Code that a folder
brings along is never run.
"""

import hashlib
import json
import logging
import math
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steps.core.artifacts import Model
from steps.core.shards import canonical_json, digest_of_file
from steps.core.workspace import Workspace

if TYPE_CHECKING:  # torch and transformers take seconds to import; a recipe is validated without them
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

INDEX = "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt")
TOKENIZERS = ("tokenizer.json", "tokenizer.model", "vocab.json", "merges.txt", "vocab.txt")
SIDE_SUFFIXES = (".json", ".txt", ".model", ".jinja", ".md")  # what stands beside the weights and belongs to them
VOLATILE = ("transformers_version", "_name_or_path", "torch_dtype", "dtype")  # who wrote it, not what it is
CHUNK_BYTES = 1 << 24


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that hold a folder's weights, in order.

    Raises:
        ValueError: there are none, only pickles, or one that the index names is missing.
    """
    if (folder / "model.safetensors").is_file():
        return [folder / "model.safetensors"]
    if (folder / INDEX).is_file():
        names = sorted(set(json.loads((folder / INDEX).read_text(encoding="utf-8"))["weight_map"].values()))
        missing = [name for name in names if not (folder / name).is_file() or Path(name).name != name]
        if missing:
            raise ValueError(
                f"{folder}: {INDEX} names {len(names)} files, missing: {', '.join(missing)}; copy them too"
            )
        return [folder / name for name in names]
    pickles = pickle_files(folder)
    if pickles:
        raise ValueError(
            f"{folder}: weights only as pickle ({', '.join(pickles)}), which can run code when opened; wanted "
            "model.safetensors: convert it where you trust it with save_pretrained(..., safe_serialization=True)"
        )
    found = (
        ", ".join(sorted(path.name for path in folder.iterdir())[:8]) or "nothing" if folder.is_dir() else "no folder"
    )
    raise ValueError(f"{folder}: wanted model.safetensors, found {found}; name a folder with a model's weights")


def pickle_files(folder: Path) -> list[str]:
    """Names of files in a folder that may be pickles; they are never opened."""
    return sorted(path.name for path in folder.glob("*") if path.suffix in PICKLES)


def check_model_folder(folder: Path) -> list[Path]:
    """The weight files of a folder that holds a whole model: config, weights and tokenizer.

    Raises:
        ValueError: a part is missing; the message names it.
    """
    files = weight_files(folder)
    if not (folder / "config.json").is_file():
        raise ValueError(f"{folder}: wanted config.json beside the weights, found none; copy the model's whole folder")
    if not any((folder / name).is_file() for name in TOKENIZERS):
        raise ValueError(
            f"{folder}: wanted tokenizer.json beside the weights, found none; save the tokenizer there too"
        )
    if pickles := pickle_files(folder):
        logger.warning("%s: ignored %s: pickles are never read, the safetensors are", folder, ", ".join(pickles))
    return files


def read_header(path: Path) -> tuple[dict[str, dict[str, Any]], int]:
    """The tensors of a safetensors file (name -> dtype, shape, data_offsets) and where their bytes begin.

    Raises:
        ValueError: it is not a whole safetensors file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if 8 + length > size:
            raise ValueError(f"{path}: not a safetensors file, or cut short ({size:,} bytes); copy it again")
        try:
            header = json.loads(file.read(length))
        except ValueError as error:
            raise ValueError(f"{path}: its safetensors header cannot be read; copy it again") from error
    header.pop("__metadata__", None)
    end = max((fact["data_offsets"][1] for fact in header.values()), default=0)
    if 8 + length + end != size:
        raise ValueError(f"{path}: wanted {8 + length + end:,} bytes, found {size:,}; copy it again")
    return header, 8 + length


def tensors_of(files: list[Path]) -> Iterator[tuple[str, dict[str, Any], Path, int]]:
    """Name, header entry, file and position of every tensor, in the order of the names."""
    found = []
    for path in files:
        header, start = read_header(path)
        found += [(name, fact, path, start + fact["data_offsets"][0]) for name, fact in header.items()]
    return iter(sorted(found, key=lambda entry: entry[0]))


def digest_of_model(folder: Path) -> str:
    """SHA-256 over every tensor (name, dtype, shape, bytes), the tokenizer with its chat template, the configuration.

    How the tensors are spread over files, who wrote them and where, does not count.

    Raises:
        ValueError: the folder does not hold a whole model.
    """
    digest = hashlib.sha256()
    for name, fact, path, position in tensors_of(check_model_folder(folder)):
        digest.update(canonical_json([name, fact["dtype"], fact["shape"]]).encode())
        left = fact["data_offsets"][1] - fact["data_offsets"][0]
        with path.open("rb") as file:
            file.seek(position)
            while left:
                chunk = file.read(min(left, CHUNK_BYTES))
                digest.update(chunk)
                left -= len(chunk)
    for name in TOKENIZERS[:1] if (folder / TOKENIZERS[0]).is_file() else TOKENIZERS[1:]:
        if (folder / name).is_file():
            digest.update(canonical_json([name, digest_of_file(folder / name)]).encode())
    if template := chat_template(folder):
        digest.update(canonical_json(["chat_template", template]).encode())
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    digest.update(canonical_json({key: value for key, value in config.items() if key not in VOLATILE}).encode())
    return digest.hexdigest()


def chat_template(folder: Path) -> Any:
    """How a model's turns are written, wherever its tokenizer keeps it; none: it is no chat model."""
    if (folder / "chat_template.jinja").is_file():
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    config = folder / "tokenizer_config.json"
    return json.loads(config.read_text(encoding="utf-8")).get("chat_template") if config.is_file() else None


def describe_model(workspace: Workspace, folder: Path, adapter: Path | None = None) -> Model:
    """The artifact of a checkpoint folder inside the workspace.

    Raises:
        ValueError: the folder does not hold a whole model, or lies outside the workspace.
    """
    shapes = [fact["shape"] for _, fact, _, _ in tensors_of(check_model_folder(folder))]
    return Model(
        digest=digest_of_model(folder),
        path=workspace.relative(folder),
        num_parameters=sum(math.prod(shape) for shape in shapes),
        adapter=workspace.relative(adapter) if adapter else None,
    )


def storage_dtype(folder: Path) -> str:
    """The dtype in which most of a folder's weights are stored, by torch's name: `float32`, `bfloat16`, `float16`."""
    names = {"F64": "float64", "F32": "float32", "BF16": "bfloat16", "F16": "float16"}
    weight: dict[str, int] = {}
    for _, fact, _, _ in tensors_of(weight_files(folder)):
        if fact["dtype"] in names:
            weight[names[fact["dtype"]]] = weight.get(names[fact["dtype"]], 0) + math.prod(fact["shape"])
    return max(weight, key=lambda name: weight[name], default="float32")


@contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers' progress bars to terminals: in a log file every redraw is a line."""
    from transformers.utils import logging as transformers_logging

    shown = transformers_logging.is_progress_bar_enabled()
    if shown and not sys.stderr.isatty():
        transformers_logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            transformers_logging.enable_progress_bar()


def load_model(folder: Path, dtype: str = "float32", device: str = "cpu") -> "PreTrainedModel":
    """A causal language model from a local folder, in eval mode.

    Raises:
        ValueError: the folder does not hold a whole model, or one that transformers does not know.
    """
    check_model_folder(folder)
    import torch
    from transformers import AutoModelForCausalLM

    with quiet():
        try:
            network = AutoModelForCausalLM.from_pretrained(  # nosec B615 - a local folder
                folder,
                dtype=getattr(torch, dtype),
                local_files_only=True,
                use_safetensors=True,
                trust_remote_code=False,
            )
        except (OSError, KeyError, ValueError) as error:
            raise ValueError(
                f"{folder}: transformers cannot load it as a causal language model: {error}; models that need code of "
                "their own are not run"
            ) from error
    return network.to(device).eval()


def refuse_quantised(folder: Path) -> None:
    """Training moves weights by less than one step of the integers that quantised weights are.

    Raises:
        ValueError: the folder's weights are quantised.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    if how := config.get("quantization_config"):
        raise ValueError(
            f"{folder}: its weights are quantised ({how.get('quant_method', 'unknown')}), and what is learned must be "
            "merged into float weights; start from the model as it was before it was quantised"
        )


def load_tokenizer(folder: Path) -> "PreTrainedTokenizerBase":
    """The tokenizer of a local folder.

    Raises:
        ValueError: there is none that transformers can read.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)  # nosec B615
    except (OSError, KeyError, ValueError) as error:
        raise ValueError(f"{folder}: no tokenizer that can be read: {error}; save it beside the weights") from error


def save_model(network: "PreTrainedModel", folder: Path, parent: Path) -> None:
    """Write a model whole or not at all, in its parent's storage dtype, with its parent's tokenizer and configuration.

    Raises:
        OSError: the disk is full, or the folder cannot be written.
    """
    import torch

    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with quiet(), writing(folder):
            network.to(getattr(torch, storage_dtype(parent))).save_pretrained(partial)
            copy_side_files(parent, partial)
            publish(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say what could not be written, whichever library was writing.

    Raises:
        OSError: the disk is full, or the place cannot be written.
    """
    from safetensors import SafetensorError

    try:
        yield
    except (OSError, SafetensorError) as error:
        raise OSError(f"{path}: cannot be written: {error}; free disk space and run again") from error


def copy_side_files(source: Path, folder: Path) -> None:
    """Copy what belongs to a model beside its weights: configuration, tokenizer, chat template, model card."""
    for path in sorted(source.iterdir()):
        if path.is_file() and path.suffix in SIDE_SUFFIXES and path.name != INDEX:
            shutil.copyfile(path, folder / path.name)


def publish(partial: Path, folder: Path) -> None:
    """Put a folder that was written aside into its place, on the disk and readable for all; what was there goes."""
    for path in partial.iterdir():
        path.chmod(0o644)
        with path.open("rb") as file:
            os.fsync(file.fileno())
    shutil.rmtree(folder, ignore_errors=True)
    partial.replace(folder)


def token_losses(
    network: Any,
    input_ids_BT: "torch.Tensor",
    loss_mask_BT: "torch.Tensor",
    position_ids_BT: "torch.Tensor | None" = None,
) -> "torch.Tensor":
    """Loss of every target token in nats, `[B, P]`: B rows, P positions at which any row has a target; 0 elsewhere.

    Logits are computed at those positions only. The mask is 1 where the token at that position is a target. Rows that
    are shorter are padded on the right, where a causal model does not look; their mask is 0 there. Positions that begin
    anew within a row are the borders of documents that do not see each other.
    """
    import torch

    at_P = loss_mask_BT[:, 1:].any(dim=0).nonzero().flatten()  # position p predicts the token at p + 1
    positions = {} if position_ids_BT is None else {"position_ids": position_ids_BT}
    logits_BPV = network(input_ids=input_ids_BT, **positions, use_cache=False, logits_to_keep=at_P).logits.float()
    wanted_BP = input_ids_BT[:, at_P + 1]
    loss_BP = torch.nn.functional.cross_entropy(logits_BPV.flatten(0, 1), wanted_BP.flatten(), reduction="none")
    return torch.where(loss_mask_BT[:, at_P + 1].bool(), loss_BP.view(wanted_BP.shape), 0.0)
