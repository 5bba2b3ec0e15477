import numpy as np

from steps.core.compiled import compiled


@compiled
def total(x_N: np.ndarray) -> int:
    found = 0
    for x in x_N:
        found += x
    return found


def test_a_compiled_function_computes_what_it_says() -> None:
    assert total(np.arange(5)) == 10
