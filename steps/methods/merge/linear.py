"""Meet between the parent's weights and the trained ones."""

import shutil
from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field

from steps.core.method import Cite
from steps.core.models import INDEX, copy_side_files, read_header, tensors_of, weight_files
from steps.methods.merge import Merge


class Linear(Merge):
    """Linear interpolation of all weights between the parent and the trained model.

    Rule:       candidate = (1 - weight) * parent + weight * trained, for every tensor

    The sum is formed in float32, tensor by tensor, and stored in the trained model's dtype: memory holds one tensor.
    Tensors of whole numbers are the trained model's.

    Units:      weight without unit, 0..1
    Reduces to: the trained model at weight = 1, the parent at weight = 0 (exact, where both are stored in one dtype)
    Differs:    the source averages models trained from one parent, here the parent itself is one of the two;
                the same sum is task arithmetic (arXiv:2212.04089) with one task vector scaled by the weight
    """

    cite: ClassVar[Cite] = Cite(
        title="Model soups: averaging weights of multiple fine-tuned models",
        id="arXiv:2203.05482",
        where="the uniform soup, with two unequal ingredients",
        checked="recalled",
    )

    weight: float = Field(0.5, ge=0, le=1, description="share of the trained model, 0..1")

    def merge(self, parent: Path, trained: Path, folder: Path) -> Path:
        """Write the weights between the two into a folder, in the trained model's files.

        Raises:
            ValueError: the two do not hold the same tensors.
        """
        self._refuse_strangers(parent, trained)
        homes = {name: path for name, _, path, _ in tensors_of(weight_files(parent))}
        folder.mkdir(parents=True, exist_ok=True)
        for path in weight_files(trained):
            self._write(path, homes, folder / path.name)
        copy_side_files(trained, folder)
        if (trained / INDEX).is_file():
            shutil.copyfile(trained / INDEX, folder / INDEX)
        return folder

    def _refuse_strangers(self, parent: Path, trained: Path) -> None:
        shapes = [
            {name: fact["shape"] for name, fact, _, _ in tensors_of(weight_files(at))} for at in (parent, trained)
        ]
        strangers = sorted(name for name, shape in shapes[1].items() if shapes[0].get(name) != shape)
        if strangers:
            raise ValueError(
                f"linear merge: wanted the same tensors in {parent} and {trained}, found {len(strangers)} that differ "
                f"({', '.join(strangers[:3])}); merge models of one architecture, or use {{method: none}}"
            )

    def _write(self, path: Path, homes: dict[str, Path], target: Path) -> None:
        """One file of the trained model's layout: its header as it is, then tensor after tensor."""
        import torch
        from safetensors import safe_open

        header, start = read_header(path)
        ordered = sorted(header, key=lambda name: header[name]["data_offsets"][0])
        opened: dict[Path, Any] = {home: safe_open(home, framework="pt") for home in {homes[name] for name in ordered}}
        with path.open("rb") as source, target.open("wb") as file, safe_open(path, framework="pt") as opened_trained:
            learned: Any = opened_trained
            file.write(source.read(start))
            for name in ordered:
                tensor = self._between(opened[homes[name]].get_tensor(name), learned.get_tensor(name))
                file.write(tensor.contiguous().flatten().view(torch.uint8).numpy().tobytes())

    def _between(self, parent: Any, trained: Any) -> Any:
        if self.weight == 1 or not trained.is_floating_point():
            return trained
        if self.weight == 0:  # without the sum: -0 + 0 would be +0
            return parent.to(trained.dtype)
        return ((1 - self.weight) * parent.float() + self.weight * trained.float()).to(trained.dtype)
