"""Memory that was freed and is still held: what the C library keeps back for itself is of no use to other processes."""

import ctypes


def give_back() -> None:
    """Hand freed memory back to the system, where the C library can (glibc); it changes no result.

    Between pieces of work that each hold many small objects, little of it goes back by itself: what lives on lies
    scattered among what was freed.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
