"""What a step computes on: the device, and how many processes share the work of training."""

import logging
import os
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

logger = logging.getLogger(__name__)


def choose_device(wanted: str) -> str:
    """`cuda` if there is a GPU and it is not refused, else `cpu`."""
    if wanted != "auto":
        return wanted
    if os.environ.get("CUDA_VISIBLE_DEVICES") == "":
        return "cpu"
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def num_gpus(device: str) -> int:
    """The GPUs that a step may use on a device."""
    if device != "cuda":
        return 0
    import torch

    return int(torch.cuda.device_count())


def num_processes(step: Callable[..., Any], section: BaseModel, wanted: int, gpus: int) -> int:
    """How many processes run a step: several only where it trains. Wanted 0: one for each GPU, if all methods can.

    Raises:
        ValueError: more are wanted than there are GPUs.
    """
    from steps.learning.ranks import alone
    from steps.train import TrainConfig, train

    if step is not train or not isinstance(section, TrainConfig):
        return 1
    if wanted:
        if gpus and wanted > gpus:
            raise ValueError(f"training.processes: wanted {wanted}, this machine has {gpus} GPUs; lower it")
        return wanted
    if gpus > 1 and (found := alone(section.params, section.objective, section.optimizer)):
        logger.warning("train: one of %d GPUs is used: %s works in one process only", gpus, " and ".join(found))
        return 1
    return max(1, gpus)
