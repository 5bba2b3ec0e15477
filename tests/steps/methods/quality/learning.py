"""What a rule may learn from, in a test."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from steps.methods.quality import Around


def around(
    folder: Path, sample: Sequence[str] = (), trusted: Mapping[str, Sequence[str]] | None = None, model: Path = Path()
) -> Around:
    """A sample of the task, and trusted text by task; that of the replay buffer is called `buffer`."""

    def texts(names: Sequence[str]) -> Iterator[str]:
        for name in names or ["buffer"]:
            yield from (trusted or {}).get(name, ())

    folder.mkdir(parents=True, exist_ok=True)
    return Around(folder=folder, trusted=texts, sample=lambda: iter(sample), model=model, seed=20, device="cpu")
