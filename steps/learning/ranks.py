"""Training over several processes: who computes what, and how the parts come together."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from steps.core.checkpoints import Checkpoint, Checkpoints
from steps.core.workspace import Workspace
from steps.methods.objective import Objective
from steps.methods.optimizer import Optimizer
from steps.methods.params import Attached, Params

if TYPE_CHECKING:
    import torch

Agreed = TypeVar("Agreed")


class Ranks:
    """The processes that train together, as one of them sees them; a single one is the plain case.

    The network is cut with FSDP2: every process holds a part of each parameter, of its gradient and its moments, and
    computes its part of each step's blocks. Gradients are summed in float32 and not averaged: the loss of a block is
    already divided by the tokens of the whole step. The process group is there before, or there is one process.
    """

    def __init__(self, rank: int, number: int) -> None:
        assert 0 <= rank < number, f"rank {rank} of {number}"
        self.rank, self.number = rank, number

    @property
    def first(self) -> bool:
        """Whether this is the process that writes and tells."""
        return self.rank == 0

    def shard(self, attached: Attached, device: "torch.device") -> Attached:
        """Cut a network that lies whole in every process; what is trained keeps its names."""
        if self.number == 1:
            return attached
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import FSDPModule, fully_shard

        mesh = init_device_mesh(device.type, (self.number,))
        network = attached.network
        layers = set(network._no_split_modules or ())
        for module in list(network.modules()):
            if type(module).__name__ in layers:
                fully_shard(module, mesh=mesh)
        fully_shard(network, mesh=mesh)
        for module in network.modules():
            if isinstance(module, FSDPModule):
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)  # gloo cannot multiply in between
        network.set_reduce_scatter_unused_params(True)  # blocks of another process may need other parameters
        parameters = dict(network.named_parameters())
        trained = {name: parameters[name] for name in attached.trained}
        return Attached(network, trained, self.cut(attached.memory, trained), self.cut(attached.fixed, trained))

    def cut(
        self, tensors: "Mapping[str, torch.Tensor]", trained: "Mapping[str, torch.Tensor]"
    ) -> "dict[str, torch.Tensor]":
        """Of what is kept beside a trained tensor, under its name and in its shape, this process's part."""
        found = dict(tensors)
        for key, tensor in tensors.items():
            name = next((name for name in trained if key == name or key.endswith(f"/{name}")), None)
            if name is not None and trained[name].shape == tensor.shape:
                found[key] = self.part(tensor, trained[name])
        return found

    def part(self, whole: "torch.Tensor", like: "torch.Tensor") -> "torch.Tensor":
        """This process's part of a whole tensor, cut as another one is."""
        if self.number == 1:
            return whole
        from torch.distributed.tensor import DTensor, distribute_tensor

        if not isinstance(like, DTensor) or isinstance(whole, DTensor):
            return whole
        return distribute_tensor(whole.to(like.device), like.device_mesh, like.placements, src_data_rank=None)

    def whole(self, tensors: "Mapping[str, torch.Tensor]") -> "dict[str, torch.Tensor]":
        """Tensors put together in the first process, those that were cut on the CPU; the others get none."""
        found = {}
        for name, tensor in tensors.items():
            put_together = self.full(tensor)
            if self.first:
                found[name] = put_together if put_together is tensor else put_together.cpu()
        return found

    def full(self, tensor: "torch.Tensor") -> "torch.Tensor":
        """A tensor put together in every process; one that is not cut is returned as it is."""
        if self.number == 1:
            return tensor
        from torch.distributed.tensor import DTensor

        return tensor.detach().full_tensor() if isinstance(tensor, DTensor) else tensor

    def totals(self, *parts: Mapping[str, float]) -> tuple[dict[str, float], ...]:
        """Sums over all processes, by name: the same in each."""
        if self.number == 1:
            return tuple(dict(part) for part in parts)
        gathered = self.gathered(parts)
        return tuple(_sums(each[place] for each in gathered) for place in range(len(parts)))

    def spread(self, work: Callable[[Any], Any], jobs: Sequence[Any]) -> list[Any]:
        """What `work` says of each job, in their order; each process does its part, and all as many.

        Every pass through a network that is cut takes all processes, so one that has no job left repeats one.
        """
        rounds = range(math.ceil(len(jobs) / self.number))
        own = [work(jobs[(each * self.number + self.rank) % len(jobs)]) for each in rounds]
        done = self.gathered(own)
        return [done[place % self.number][place // self.number] for place in range(len(jobs))]

    def gathered(self, value: Agreed) -> list[Agreed]:
        """A plain value of each process, in their order."""
        if self.number == 1:
            return [value]
        from torch.distributed import all_gather_object

        found: list[Any] = [None] * self.number
        all_gather_object(found, value)
        return found

    def agreed(self, value: Agreed) -> Agreed:
        """A plain value of the first process."""
        return self.gathered(value)[0]

    def any(self, flag: bool) -> bool:
        """Whether it holds in any process."""
        return any(self.gathered(flag))

    def wait(self) -> None:
        """Go on once every process has come here."""
        self.gathered(None)

    def latest(self, checkpoints: Checkpoints) -> Checkpoint | None:
        """The latest good checkpoint, the same for all: it holds whole tensors, whoever wrote it."""
        found = checkpoints.latest() if self.first else None
        step = self.agreed(found.step if found else None)
        return found if self.first or step is None else checkpoints.at(step)


def together(workspace: Workspace, params: Params, objectives: Sequence[Objective], optimizer: Optimizer) -> Ranks:
    """The processes that this one trains with.

    Raises:
        ValueError: there are several, and a method needs the whole network in one.
    """
    found = alone(params, objectives, optimizer)
    if found and workspace.num_ranks > 1:
        raise ValueError(
            f"train: {workspace.num_ranks} processes, but {' and '.join(found)} works in one only; "
            "set `training: {processes: 1}` in perennial.yaml, or choose another method"
        )
    return Ranks(workspace.rank, workspace.num_ranks)


def alone(params: Params, objectives: Sequence[Objective], optimizer: Optimizer) -> list[str]:
    """The methods, as `slot: name`, that need the whole network in one process."""
    found = [] if params.sharded else [f"params: {params.method_name()}"]
    found += [f"objective: {one.method_name()}" for one in objectives if not one.sharded]
    found += [f"objective: {one.method_name()} with teacher: slow" for one in objectives if "slow" in one.teachers]
    return found + ([] if optimizer.sharded else [f"optimizer: {optimizer.method_name()}"])


def _sums(parts: Iterable[Mapping[str, float]]) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in parts:
        for name, value in part.items():
            found[name] = found.get(name, 0) + value
    return found
