"""How a network computes in training: attention, what is kept for the backward pass, compiled or not."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal

from pydantic import Field

from steps.core.artifacts import Frozen
from steps.core.blocks import MicroBatch
from steps.core.forward import outputs_at

FLASH = "flash_attention_2"


class Arithmetic(Frozen):
    """Knobs of the recipe's section `train` that change rounding, speed and memory, and nothing else."""

    attention: Literal["sdpa", "flash", "eager"] = Field(
        "sdpa", description="kernel; flash: the package flash-attn, on a GPU, not the same bits at every run"
    )
    gradient_checkpointing: bool = Field(
        False, description="compute each layer again in the backward pass: far less memory, a third more time"
    )
    compile: bool = Field(False, description="compile the layers by torch.compile, at the first step")

    def check(self, device: str, precision: str) -> None:
        """Refuse what this machine cannot compute.

        Raises:
            ValueError: the device, a package or a compiler is missing.
        """
        if self.attention == "flash":
            from transformers.utils import is_flash_attn_2_available

            for holds, need, found in (
                (device == "cuda", "a GPU", f"device {device}"),
                (precision == "bfloat16", "precision bfloat16", precision),
                (device != "cuda" or is_flash_attn_2_available(), "the package flash-attn", "none that works"),
            ):
                if not holds:
                    raise ValueError(f"train.attention: flash needs {need}, found {found}; use sdpa")
        if self.compile and not _can_compile(device):
            needed = "a C++ compiler (Debian: apt-get install g++)" if device == "cpu" else "triton"
            raise ValueError(f"train.compile: wanted {needed}, found none; install it or set train.compile to false")

    def prepare(self, network: Any) -> None:
        """Make a network that is ready to train compute so.

        Raises:
            ValueError: this network cannot.
        """
        if self.attention == "eager":
            network.set_attn_implementation("eager")
        if self.gradient_checkpointing:
            _checkpoint(network)
        if self.compile:
            _compile(network)

    @contextmanager
    def training(self, network: Any) -> Iterator[None]:
        """Around a step. Flash attention is for these alone: it knows no float32, in which all else is read."""
        if self.attention != "flash":
            yield
            return
        before = network.config._attn_implementation
        network.set_attn_implementation(FLASH)
        try:
            yield
        finally:
            network.set_attn_implementation(before)


PLAIN = Arithmetic()


def _layers(network: Any, knob: str) -> list[Any]:
    """The layers of a network as transformers sees them.

    Raises:
        ValueError: there are none.
    """
    from transformers.modeling_layers import GradientCheckpointingLayer

    layers = [module for module in network.modules() if isinstance(module, GradientCheckpointingLayer)]
    if not layers:
        raise ValueError(
            f"train.{knob}: {type(network).__name__} has no layers that transformers can compute again, wanted some; "
            "set it to false"
        )
    return layers


def _checkpoint(network: Any) -> None:
    """Keep only the layers' inputs. Their own training flag says so to transformers; what is inside stays in eval mode.

    Raises:
        ValueError: a layer computes something else when that flag is set, such as dropout.
    """
    import torch
    from torch.utils.checkpoint import checkpoint

    layers = _layers(network, "gradient_checkpointing")
    batch = MicroBatch(
        torch.arange(4, device=network.device)[None],
        torch.ones((1, 4), dtype=torch.bool, device=network.device),
        *(None, None, None),
        ["new"],
    )
    before = outputs_at(network, batch).logits.detach()
    for layer in layers:
        layer.training = layer.gradient_checkpointing = True
        layer._gradient_checkpointing_func = partial(checkpoint, use_reentrant=False)
    if not torch.equal(outputs_at(network, batch).logits.detach(), before):
        raise ValueError(
            f"train.gradient_checkpointing: {type(layers[0]).__name__} computes other numbers in training mode, such "
            "as dropout, wanted the same; set it to false"
        )


def _compile(network: Any) -> None:
    """Compile each layer for the shapes that come; layers alike share one result. Only passes of training use it.

    Raises:
        ValueError: something watches what is inside.
    """
    import torch

    layers = _layers(network, "compile")
    inside = [module for layer in layers for module in layer.modules()]
    if any(module._forward_hooks or module._forward_pre_hooks for module in inside):
        raise ValueError(
            "train.compile: the params method watches the layers as they compute, which compiled ones do not show; "
            "set it to false, or choose another method"
        )
    for layer in layers:
        layer.forward = _when_learning(torch.compile(layer.forward, dynamic=False), layer.forward)


def _when_learning(compiled: Callable[..., Any], plain: Callable[..., Any]) -> Callable[..., Any]:
    """One function for passes that keep gradients, another for the rest, which have many shapes."""
    import torch

    def forward(*given: Any, **named: Any) -> Any:
        return (compiled if torch.is_grad_enabled() else plain)(*given, **named)

    return forward


def _can_compile(device: str) -> bool:
    if device == "cpu":
        from torch._inductor.cpp_builder import get_cpp_compiler
        from torch._inductor.exc import InvalidCxxCompiler

        try:
            return bool(get_cpp_compiler())
        except InvalidCxxCompiler:
            return False
    from torch.utils._triton import has_triton

    return bool(has_triton())
