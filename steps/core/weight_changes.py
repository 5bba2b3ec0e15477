"""What changed in the weights: how far every matrix moved, along how many directions, and which of them are new.

Update norm: ||D|| with D = candidate - parent, Frobenius, and the same over ||parent||.

Effective rank of D: exp of the entropy of its singular values divided by their sum (Roy and Vetterli, "The effective
rank: a measure of effective dimensionality", EUSIPCO 2007). 1 for one direction, r for r equally strong ones.

Intruder dimensions (arXiv:2410.21228; `reduce_intruder_dimension` of peft counts the same): of the `top_vectors` first
left singular vectors of the candidate, those whose largest |cosine| to any left singular vector of the parent is below
epsilon. Only the parent's vectors of nonzero singular values count: what it never wrote to is new to it.

Both are of the weights as they are stored: in bfloat16 the rounding of a small update is a part of it.
"""

import json
import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import Field

from steps.core.artifacts import Frozen
from steps.core.differences import LayerChange
from steps.core.models import tensors_of, weight_files

if TYPE_CHECKING:
    import torch

HEADS = ("lm_head.weight", "embed_out.weight", "output.weight")  # beside tied embeddings: the same weights once more
CHUNK_NUMBERS = 1 << 24  # of a tensor at a time, in float64
TERA = 1e12
Told = Callable[[int, int, str], None]


class MatrixChange(Frozen):
    """How far one tensor moved."""

    name: str
    layer: int | None = Field(description="none: outside the layers, as embeddings are")
    kind: str = Field(description="its name without the layer: `self_attn.q_proj`")
    shape: tuple[int, ...]
    norm: float | None = Field(description="of the update, Frobenius; none: a weight is no number")
    parent_norm: float | None
    effective_rank: float | None = Field(None, description="of the update; 0: none was made; none: not decomposed")
    intruders: int | None = Field(None, description="none: not decomposed")

    @property
    def relative(self) -> float | None:
        """The update's norm over the parent's; none where there is no such number."""
        return ratio(self.norm, self.parent_norm)


def ratio(norm: float | None, parent_norm: float | None) -> float | None:
    """A norm over another one."""
    if norm == 0.0:
        return 0.0
    return None if norm is None or not parent_norm else norm / parent_norm


def weight_changes(
    parent: Path,
    candidate: Path,
    *,
    top_vectors: int = 10,
    epsilon: float = 0.5,
    decompose_teraflops: float = 1.0,
    told: Told | None = None,
) -> list[MatrixChange]:
    """How far every tensor of a checkpoint folder is from that of another, in the order of their names.

    One pair of tensors is in memory at a time. Matrices that changed are decomposed, whole layers at a time, as many as
    `decompose_teraflops` allow, spread evenly over the depth; the rest have norms alone.

    Raises:
        ValueError: the two do not hold the same tensors.
    """
    pairs = _Pairs(parent, candidate)
    moved = []
    for done, name in enumerate(pairs.names):
        moved.append(_moved(name, pairs))
        if told:
            told(done + 1, len(pairs.names), "tensors")
    waiting = decomposed(moved, decompose_teraflops)
    found, done = [], 0
    for change in moved:
        measured: dict[str, float] = {}
        if change.norm == 0.0 and len(change.shape) == 2:
            measured = {"effective_rank": 0.0, "intruders": 0}
        elif change.name in waiting:
            new_MN, old_MN = (as_matrix(tensor) for tensor in pairs.read(change.name))
            rank = effective_rank(new_MN - old_MN)
            measured = {"effective_rank": rank, "intruders": num_intruders(new_MN, old_MN, top_vectors, epsilon)}
            done += 1
            if told:
                told(done, len(waiting), "matrices decomposed")
        found.append(change.model_copy(update=measured))
    return found


class _Pairs:
    """The tensors that two checkpoint folders share, each read when it is asked for."""

    def __init__(self, parent: Path, candidate: Path) -> None:
        found = [list(tensors_of(weight_files(at))) for at in (candidate, parent)]
        self._homes = [{name: path for name, _, path, _ in tensors} for tensors in found]
        shapes = [{name: fact["shape"] for name, fact, _, _ in tensors if "F" in fact["dtype"]} for tensors in found]
        if _tied(candidate) and _tied(parent):
            shapes = [{name: shape for name, shape in each.items() if not name.endswith(HEADS)} for each in shapes]
        strangers = sorted(name for name in {**shapes[0], **shapes[1]} if shapes[0].get(name) != shapes[1].get(name))
        if strangers:
            raise ValueError(
                f"compare: wanted the same tensors in {parent} and {candidate}, found {len(strangers)} that differ "
                f"({', '.join(strangers[:3])}); compare models of one architecture, or switch it off: `weights: false`"
            )
        self.names = sorted(shapes[0])

    def read(self, name: str) -> list["torch.Tensor"]:
        """The candidate's tensor and the parent's."""
        from safetensors import safe_open

        found = []
        for homes in self._homes:
            with safe_open(homes[name], framework="pt") as opened:
                file: Any = opened
                found.append(file.get_tensor(name))
        return found


def _tied(folder: Path) -> bool:
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return bool(config.get("tie_word_embeddings", config.get("text_config", {}).get("tie_word_embeddings", False)))


def _moved(name: str, pairs: _Pairs) -> MatrixChange:
    layer, kind = place_of(name)
    new, old = pairs.read(name)
    shape, changed, stood = tuple(new.shape), 0.0, 0.0
    for start in range(0, new.numel(), CHUNK_NUMBERS):
        before = old.flatten()[start : start + CHUNK_NUMBERS].double()
        update = new.flatten()[start : start + CHUNK_NUMBERS].double() - before
        changed += float(update.square().sum())
        stood += float(before.square().sum())
    norm, parent_norm = (math.sqrt(total) if math.isfinite(total) else None for total in (changed, stood))
    return MatrixChange(name=name, layer=layer, kind=kind, shape=shape, norm=norm, parent_norm=parent_norm)


def place_of(name: str) -> tuple[int | None, str]:
    """The layer of a tensor and what it is within it; further numbers (experts) become stars."""
    words = name.removesuffix(".weight").split(".")
    at = next((place for place, word in enumerate(words) if word.isdigit()), None)
    if at is None:
        return None, words[-1]
    return int(words[at]), ".".join("*" if word.isdigit() else word for word in words[at + 1 :])


def as_matrix(tensor: "torch.Tensor") -> np.ndarray:
    """A matrix of weights as it is decomposed, in float64."""
    found: np.ndarray = tensor.double().numpy()
    return found


def work_of(shape: Sequence[int]) -> float:
    """About the teraflops that decomposing takes: three products of a matrix with itself, three spectra."""
    low, high = sorted(shape)
    return (6.0 * high * low**2 + 12.0 * low**3) / TERA


def decomposed(changes: Iterable[MatrixChange], budget_teraflops: float) -> set[str]:
    """The matrices that a budget allows: of whole layers, evenly over the depth, then those outside of them."""
    layers: dict[int | None, list[MatrixChange]] = {}
    for change in changes:
        if len(change.shape) == 2 and change.norm and math.isfinite(change.norm) and change.parent_norm is not None:
            layers.setdefault(change.layer, []).append(change)
    outside = sorted(layers.pop(None, ()), key=lambda change: work_of(change.shape))
    work = {layer: sum(work_of(change.shape) for change in found) for layer, found in sorted(layers.items())}
    for number in range(len(work), 0, -1):
        chosen = [list(work)[int((k + 0.5) * len(work) / number)] for k in range(number)]
        if (spent := sum(work[layer] for layer in chosen)) <= budget_teraflops:
            break
    else:
        chosen, spent = [], 0.0
    names = {change.name for layer in chosen for change in layers[layer]}
    for change in outside if len(chosen) == len(work) else ():
        spent += work_of(change.shape)
        if spent <= budget_teraflops:
            names.add(change.name)
    return names


def effective_rank(update_MN: np.ndarray) -> float:
    """exp of the entropy of the normalised singular values; 0 for no update. At most min(M, N)."""
    from scipy.linalg import eigvalsh

    singular_S = np.sqrt(np.clip(eigvalsh(_gram(update_MN)), 0.0, None))
    if not singular_S.any():
        return 0.0
    share_S = singular_S / singular_S.sum()
    share_S = share_S[share_S > 0]
    return float(np.exp(-(share_S * np.log(share_S)).sum()))


def num_intruders(new_MN: np.ndarray, parent_MN: np.ndarray, top_vectors: int = 10, epsilon: float = 0.5) -> int:
    """How many of the first left singular vectors are like none of the parent's."""
    top_MK = left_vectors(new_MN, top_vectors)
    likeness_K = _likeness(left_vectors(parent_MN, 2 * top_vectors), top_MK)
    if (likeness_K < epsilon).any():  # most find their like among the parent's first; the rest are held against all
        likeness_K = _likeness(left_vectors(parent_MN), top_MK)
    return int((likeness_K < epsilon).sum())


def _likeness(old_MS: np.ndarray, top_MK: np.ndarray) -> np.ndarray:
    found: np.ndarray = np.abs(old_MS.T @ top_MK).max(axis=0, initial=0.0)
    return found


def left_vectors(x_MN: np.ndarray, number: int | None = None) -> np.ndarray:
    """The left singular vectors of nonzero singular values, or the first of them; `[M, at most min(M, N)]`."""
    from scipy.linalg import eigh

    size = min(x_MN.shape)
    part = {} if number is None else {"subset_by_index": [max(0, size - number), size - 1]}
    square_S, vectors = eigh(_gram(x_MN), **part)
    floor = (max(x_MN.shape) * np.finfo(np.float32).eps) ** 2 * square_S[-1]  # below it is rounding of the weights
    vectors, square_S = vectors[:, square_S > floor], square_S[square_S > floor]
    found: np.ndarray = vectors if x_MN.shape[0] <= x_MN.shape[1] else x_MN @ (vectors / np.sqrt(square_S))
    return found


def _gram(x_MN: np.ndarray) -> np.ndarray:
    """The smaller of the products of a matrix with itself."""
    found: np.ndarray = x_MN @ x_MN.T if x_MN.shape[0] <= x_MN.shape[1] else x_MN.T @ x_MN
    return found


def by_layer(changes: Iterable[MatrixChange]) -> tuple[LayerChange, ...]:
    """What changed in every layer, those outside of the layers last."""
    layers: dict[int | None, list[MatrixChange]] = {}
    for change in changes:
        layers.setdefault(change.layer, []).append(change)
    ordered = sorted(layers.items(), key=lambda entry: (entry[0] is None, entry[0] or 0))
    return tuple(in_all(found, layer) for layer, found in ordered)


def in_all(changes: Sequence[MatrixChange], layer: int | None = None) -> LayerChange:
    """What changed in several tensors together."""
    norm, parent_norm = (
        _together(change.norm for change in changes),
        _together(change.parent_norm for change in changes),
    )
    matrices = [change for change in changes if len(change.shape) == 2]
    moved = [change for change in matrices if change.norm != 0.0]
    ranks = [change.effective_rank for change in moved if change.effective_rank is not None]
    intruders = [change.intruders for change in moved if change.intruders is not None]
    return LayerChange(
        layer=layer,
        norm=norm,
        relative=ratio(norm, parent_norm),
        effective_rank=math.fsum(ranks) / len(ranks) if ranks else None if moved else 0.0,
        intruders=None if moved and not intruders else sum(intruders),
        num_matrices=len(matrices),
        num_decomposed=len(matrices) - len(moved) + len(ranks),
    )


def farthest(changes: Iterable[MatrixChange], number: int = 3) -> dict[str, float]:
    """The matrices that moved most for their size, the first of them first."""
    moved = [(change.relative or 0.0, change.name) for change in changes if len(change.shape) == 2]
    ordered = sorted(moved, key=lambda each: (-each[0], each[1]))[:number]
    return {name.removesuffix(".weight"): relative for relative, name in ordered if relative}


def _together(norms: Iterable[float | None]) -> float | None:
    found = list(norms)
    known = [norm for norm in found if norm is not None]
    return math.sqrt(math.fsum(norm**2 for norm in known)) if len(known) == len(found) else None
