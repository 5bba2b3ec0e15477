"""Checkpoints of a training run: tensors in safetensors, the rest as JSON, whole or not there.

A run that is stopped goes on from the latest good checkpoint and makes the same numbers. Only files that we wrote are
opened; a pickle that someone put there is not.
"""

import json
import logging
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steps.core.models import writing
from steps.core.shards import canonical_json, digest_of, digest_of_file, read_lines, write_json, write_lines

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

TENSORS, FACTS = "state.safetensors", "checkpoint.json"


@dataclass(frozen=True)
class Checkpoint:
    """The complete state after a step."""

    step: int
    tensors: dict[str, "torch.Tensor"]
    decisions: list[dict[str, Any]]


class Checkpoints:
    """The checkpoints of one run: `<folder>/step-<n>/`; those of another run that are found there go.

    Of several processes with the same folder one `writes`; the others read, after it was made there.
    """

    def __init__(self, folder: Path, identity: str, keep: int = 2, *, writes: bool = True) -> None:
        self.folder = folder
        self.identity = identity
        self.keep = keep
        self.writes = writes
        if not writes:
            return
        shutil.rmtree(folder.with_name(f".{folder.name}.ended"), ignore_errors=True)
        owner = folder / "run"
        if not owner.is_file() or owner.read_bytes() != identity.encode():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            owner.write_text(identity, encoding="utf-8")
        for partial in folder.glob(".*"):  # a process died while it wrote
            shutil.rmtree(partial) if partial.is_dir() else partial.unlink()

    def save(
        self, step: int, tensors: Mapping[str, "torch.Tensor"], decisions: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        """Write the state after a step; on return it is on disk and only the last `keep` are left.

        `decisions`: what was decided on the way, as JSON values.

        Raises:
            OSError: the disk is full; the checkpoints that were there are untouched.
        """
        if not self.writes:
            return
        from safetensors.torch import save_file

        target, partial = self.folder / f"step-{step}", self.folder / f".step-{step}"
        try:
            with writing(target):
                partial.mkdir()
                save_file(_apart(tensors), partial / TENSORS)
                _sync(partial / TENSORS)
                facts = {
                    "step": step,
                    "identity": self.identity,
                    "sha256": digest_of_file(partial / TENSORS),
                    "decisions": list(decisions),
                    "decisions_sha256": digest_of(list(decisions)),
                }
                write_json(partial / FACTS, facts)
                shutil.rmtree(target, ignore_errors=True)  # a damaged one, made anew
                partial.replace(target)
                _sync(self.folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
        for old in self._found()[: -self.keep]:
            shutil.rmtree(old)

    def latest(self) -> Checkpoint | None:
        """The latest good checkpoint; damaged ones are passed over with a warning."""
        for path in reversed(self._found()):
            try:
                return self._read(path)
            except (OSError, ValueError, KeyError, TypeError) as error:
                logger.warning("%s: damaged checkpoint passed over: %s; an earlier one is used", path, error)
        return None

    def at(self, step: int) -> Checkpoint:
        """The checkpoint after a step, which is there and good."""
        return self._read(self.folder / f"step-{step}")

    def clear(self) -> None:
        """Remove all at once: the run has ended, and half of its checkpoints would be the state of no run."""
        if not self.writes:
            return
        ended = self.folder.with_name(f".{self.folder.name}.ended")
        self.folder.replace(ended)
        shutil.rmtree(ended)

    def _found(self) -> list[Path]:
        paths = [path for path in self.folder.glob("step-*") if path.name[5:].isdigit()]
        return sorted(paths, key=lambda path: int(path.name[5:]))

    def _read(self, path: Path) -> Checkpoint:
        from safetensors.torch import load_file

        strangers = sorted(file.name for file in path.iterdir() if file.name not in (TENSORS, FACTS))
        if strangers:
            logger.warning("%s: ignored %s: training did not write it and never opens it", path, ", ".join(strangers))
        facts: dict[str, Any] = json.loads((path / FACTS).read_text(encoding="utf-8"))
        if facts["identity"] != self.identity:
            raise ValueError("it belongs to another run")
        found = digest_of_file(path / TENSORS)
        if found != facts["sha256"]:
            raise ValueError(f"wanted {TENSORS} with SHA-256 {facts['sha256'][:12]}, found {found[:12]}")
        if digest_of(facts["decisions"]) != facts["decisions_sha256"]:
            raise ValueError(f"the decisions in {FACTS} were changed")
        return Checkpoint(int(facts["step"]), load_file(path / TENSORS), facts["decisions"])


class History:
    """What training said about each step, one JSON object per step, whatever happens in between.

    A step that is computed again after a stop keeps the row that it had, so it is never told in two ways. Of several
    processes with the same file one `writes`.
    """

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        self.path = path
        self.rows: dict[int, dict[str, float]] = {}
        self.writes = writes
        if not writes:
            return
        try:
            for row in read_lines(path):
                self.rows[int(row["step"])] = row
        except (ValueError, KeyError, TypeError):  # a process died in the middle of the last line
            logger.warning("%s: a damaged line; its step and those after it are told again", path)
        write_lines(path, self.rows.values())

    def add(self, step: int, metrics: Mapping[str, float]) -> bool:
        """Keep the metrics of a step; False if it has been told before, or is another process's to tell."""
        if step in self.rows or not self.writes:
            return False
        self.rows[step] = {"step": step, **metrics}
        with self.path.open("a", encoding="utf-8") as file:
            file.write(canonical_json(self.rows[step]) + "\n")
        return True

    def publish(self, path: Path) -> None:
        """Write all rows to a place of their own."""
        if self.writes:
            write_lines(path, self.rows.values())


def _apart(tensors: "Mapping[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
    """Tensors on the CPU, each in memory of its own: safetensors takes no two that share it."""
    found: dict[str, torch.Tensor] = {}
    seen = set()
    for name, tensor in tensors.items():
        own = tensor.detach().cpu().contiguous()
        place = own.untyped_storage().data_ptr()
        found[name] = own.clone() if place in seen else own
        seen.add(place)
    return found


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
