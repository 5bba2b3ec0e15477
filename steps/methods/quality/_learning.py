"""What rules that learn share: a sample of texts that fits into memory."""

from collections.abc import Iterator

import numpy as np

MAX_CHARACTERS = 16_384  # of one text: learned rules look at its beginning


def sample_of(texts: Iterator[str], size: int, seed: int) -> list[str]:
    """The beginnings of at most `size` texts, drawn uniformly (algorithm R), in the order in which they came."""
    rng = np.random.default_rng(seed)
    held: list[tuple[int, str]] = []
    for number, text in enumerate(texts):
        if len(held) < size:
            held.append((number, text[:MAX_CHARACTERS]))
        elif (place := int(rng.integers(number + 1))) < size:
            held[place] = (number, text[:MAX_CHARACTERS])
    return [text for _, text in sorted(held)]
