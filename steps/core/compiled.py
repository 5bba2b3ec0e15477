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
    """Compile a function at its first call, without Python objects and without the interpreter's lock.

    It can make no array (`_nrt=False`): counting references to the arrays it is handed costs more than our short
    functions do. What it fills is handed to it; one that must make its own is `allocating`.
    """
    return cast("Callable[Arguments, Result]", numba.njit(cache=True, nogil=True, _nrt=False)(function))


def allocating(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The same for a function that makes arrays of its own: worth it when it does much at a call."""
    return cast("Callable[Arguments, Result]", numba.njit(cache=True, nogil=True)(function))


def inlined(function: Callable[Arguments, Result]) -> Callable[Arguments, Result]:
    """The same, put in where it is called: for functions that take many arrays, which are slow to hand over."""
    return cast(
        "Callable[Arguments, Result]", numba.njit(cache=True, nogil=True, _nrt=False, forceinline=True)(function)
    )
