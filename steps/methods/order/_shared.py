"""What several orders begin with."""

import numpy as np


def shuffled(num_documents: int, epoch: int, seed: int) -> np.ndarray:
    """All documents, in an order of this epoch's own, int64."""
    return np.random.default_rng([seed, epoch]).permutation(num_documents)


def first_of(order_N: np.ndarray, lengths_N: np.ndarray, num_tokens: int) -> np.ndarray:
    """The first documents of an order that hold so many tokens; at least one, at most all."""
    held = np.cumsum(lengths_N[order_N])
    return order_N[: max(1, int(np.searchsorted(held, num_tokens)) + 1)]
