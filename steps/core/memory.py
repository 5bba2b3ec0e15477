"""Memory: how much is used, and what was freed and is still held, which is of no use to other processes."""

import ctypes


def give_back() -> None:
    """Hand freed memory back to the system, where the C library can (glibc); it changes no result.

    Between pieces of work that each hold many small objects, little of it goes back by itself: what lives on lies
    scattered among what was freed.
    """
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def used_mb() -> float:
    """The most memory that tensors took on the GPU that torch has begun to use, else what this process holds, in MB."""
    import torch

    if torch.cuda.is_initialized():
        return float(torch.cuda.max_memory_allocated()) / 1e6
    import psutil

    return float(psutil.Process().memory_info().rss) / 1e6
