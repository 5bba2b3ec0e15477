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


def has_room(device: str, num_bytes: float) -> bool:
    """Whether a GPU has room for a model of so many bytes, with what computing with it takes; any other device has."""
    if not device.startswith("cuda"):
        return True
    import torch

    kept = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # freed, and torch's to use again
    return bool(1.3 * num_bytes < torch.cuda.mem_get_info(device)[0] + kept)


def used_mb() -> float:
    """The most memory that tensors took on the GPU that torch has begun to use, else what this process holds, in MB."""
    import torch

    if torch.cuda.is_initialized():
        return float(torch.cuda.max_memory_allocated()) / 1e6
    import psutil

    return float(psutil.Process().memory_info().rss) / 1e6
