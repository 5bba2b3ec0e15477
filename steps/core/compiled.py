"""Functions compiled by numba, once a machine: the result is kept beside the source.

Numba makes them anew when their own file changes, and only then. So a compiled function calls none of another file and
reads no constant of another file: what it needs from there it takes as an argument.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba

Arguments = ParamSpec("Arguments")
Result = TypeVar("Result")


def compiled(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """Compile a function at its first call, without Python objects and without the interpreter's lock."""
    return cast("Callable[Arguments, Result]", numba.njit(cache=True, nogil=True)(function))
