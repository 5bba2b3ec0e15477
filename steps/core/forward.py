"""One forward pass, seen at the tokens that carry loss. N: these tokens, in the order of rows and positions."""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from steps.core.blocks import REPLAY, MicroBatch

if TYPE_CHECKING:
    import torch

Rows = Literal["all", "new", "replayed"]


class Head(NamedTuple):
    """A plain output layer that was passed by, and the precision in which it would have computed."""

    layer: Any
    dtype: "torch.dtype"

    def logits(self, hidden_NM: "torch.Tensor") -> "torch.Tensor":
        """What it would have said, float32."""
        import torch

        with torch.autocast(hidden_NM.device.type, self.dtype, enabled=self.dtype != torch.float32):
            logits_NV: torch.Tensor = self.layer(hidden_NM.to(self.layer.weight.dtype))
        return logits_NV.float()


class Outputs(NamedTuple):
    """What a network says before each of N tokens: logits `[N, V]`, states under the output layer `[N, M]`."""

    logits: "torch.Tensor"
    hidden: "torch.Tensor | None"
    head: Head | None = None  # then there are no logits: it makes them of the states


def outputs_at(network: Any, batch: MicroBatch, *, hidden: bool = False, logits: bool = True) -> Outputs:
    """Logits, and hidden states if they are asked for, before every token of a micro-batch that carries loss.

    Without `logits`, which only `has_plain_head` allows, the output layer is passed by.
    """
    import torch

    from steps.core.cross_entropy import is_plain

    if batch.position_ids is not None and "flash" in str(network.config._attn_implementation):
        batch = batch.in_one_row()
    at_P = batch.loss_mask[:, 1:].any(dim=0).nonzero().flatten()  # position p predicts the token at p + 1
    targets_BP = batch.loss_mask[:, at_P + 1]
    positions = {} if batch.position_ids is None else {"position_ids": batch.position_ids}
    states: list[torch.Tensor] = []
    layer = network.get_output_embeddings()
    passed_by = not logits and is_plain(layer)

    def look(_: Any, given: Any) -> Any:
        states.append(given[0])
        return (given[0][:, :0],) if passed_by else None  # of no position it makes no logits

    hook = layer.register_forward_pre_hook(look) if hidden or passed_by else None
    try:
        logits_BPV = network(input_ids=batch.input_ids, **positions, use_cache=False, logits_to_keep=at_P).logits
    finally:
        if hook:
            hook.remove()

    def at_targets(values_BPX: "torch.Tensor") -> "torch.Tensor":
        return values_BPX.flatten(0, 1) if bool(targets_BP.all()) else values_BPX[targets_BP]

    hidden_NM = at_targets(states[-1]).float() if states else None
    if not passed_by:
        return Outputs(at_targets(logits_BPV).float(), hidden_NM)
    device = batch.input_ids.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else layer.weight.dtype
    return Outputs(logits_BPV[0], hidden_NM, Head(layer, dtype))


def has_plain_head(network: Any) -> bool:
    """Whether logits are W·x + b of the states under the output layer, to the bit: asked, not believed."""
    import torch

    from steps.core.cross_entropy import is_plain

    layer = network.get_output_embeddings()
    if not is_plain(layer):
        return False
    input_ids = torch.tensor([[0, 1, 2, 3]], device=network.device)
    batch = MicroBatch(input_ids, torch.ones_like(input_ids, dtype=torch.bool), None, None, None, ["new"])
    with torch.no_grad():
        said = outputs_at(network, batch, hidden=True)
        return bool(torch.equal(said.logits, layer(said.hidden).float()))


class Teacher:
    """A network that is asked and not trained; loaded when it is first asked."""

    def __init__(
        self, load: Callable[[], Any], autocast: Callable[[], Any], *, hidden: bool, logits: bool = True
    ) -> None:
        self._load = load
        self._autocast = autocast
        self._asked = {"hidden": hidden, "logits": logits}

    @cached_property
    def network(self) -> Any:
        """The network, frozen."""
        return self._load().requires_grad_(False)

    def forget(self) -> None:
        """Let the network go; it is loaded again if it is asked again."""
        self.__dict__.pop("network", None)

    def outputs(self, batch: MicroBatch) -> Outputs:
        """What it says of a micro-batch; nothing is kept for a gradient."""
        import torch

        with torch.no_grad(), self._autocast():
            return outputs_at(self.network, batch, **self._asked)


class Averaged:
    """A network with averages in place of what is trained; all else it shares."""

    def __init__(self, network: Any, averages: "Callable[[], Mapping[str, torch.Tensor]]") -> None:
        self._network, self._averages = network, averages

    @property
    def config(self) -> Any:
        """The configuration that it shares."""
        return self._network.config

    def requires_grad_(self, _: bool) -> "Averaged":
        """Itself: it has nothing of its own to freeze."""
        return self

    def get_output_embeddings(self) -> Any:
        """The output layer that it shares."""
        return self._network.get_output_embeddings()

    def __call__(self, **given: Any) -> Any:
        """A forward pass with the averages of this moment."""
        from torch.func import functional_call

        return functional_call(self._network, dict(self._averages()), (), given)


class AsGiven:
    """A network with what `params` attached to it switched off; it has nothing of its own."""

    def __init__(self, network: Any, switched_off: Callable[[], AbstractContextManager[None]]) -> None:
        self._network, self._switched_off = network, switched_off

    @property
    def config(self) -> Any:
        """The configuration that it shares."""
        return self._network.config

    def requires_grad_(self, _: bool) -> "AsGiven":
        """Itself: it has nothing of its own to freeze."""
        return self

    def get_output_embeddings(self) -> Any:
        """The output layer that it shares."""
        return self._network.get_output_embeddings()

    def __call__(self, **given: Any) -> Any:
        """A forward pass as the network was given."""
        with self._switched_off():
            return self._network(**given)


@dataclass(frozen=True)
class StepFacts:
    """What holds for a whole optimiser step."""

    step: int  # from 1
    num_steps: int
    num_losses: int  # tokens that carry loss, over all its micro-batches
    num_replayed: int  # those of them that are replayed


@dataclass
class Seen:
    """What an objective sees of a micro-batch. Its value is a sum over tokens divided by one of `facts`' counts."""

    batch: MicroBatch
    outputs: Outputs
    facts: StepFacts
    teachers: Mapping[str, Teacher] = field(default_factory=dict)
    _answers: dict[tuple[str, Rows], Outputs] = field(default_factory=dict)

    @cached_property
    def logits_NV(self) -> "torch.Tensor":
        """The network's logits, float32."""
        head = self.outputs.head
        return head.logits(self.hidden_NM) if head else self.outputs.logits

    @property
    def hidden_NM(self) -> "torch.Tensor":
        """The states under the output layer, float32; only if the objective says that it needs them."""
        assert self.outputs.hidden is not None, "the objective has to set `hidden`"
        return self.outputs.hidden

    @cached_property
    def labels_N(self) -> "torch.Tensor":
        """The tokens themselves."""
        return self.batch.input_ids[self._targets_BT]

    @cached_property
    def nats_N(self) -> "torch.Tensor":
        """The cross-entropy of every token, in nats."""
        import torch

        from steps.core.cross_entropy import linear_cross_entropy

        if head := self.outputs.head:
            return linear_cross_entropy(self.hidden_NM, head.layer, self.labels_N, head.dtype)
        return torch.nn.functional.cross_entropy(self.logits_NV, self.labels_N, reduction="none")

    @cached_property
    def row_N(self) -> "torch.Tensor":
        """The row of the micro-batch that each token stands in."""
        return self._targets_BT.nonzero()[:, 0]

    @cached_property
    def replayed_N(self) -> "torch.Tensor":
        """Whether each token is replayed."""
        return self._replayed_B[self.row_N]

    @property
    def changed_N(self) -> "torch.Tensor | None":
        """Whether each token is new in this version of its document; none: nothing was marked."""
        return None if self.batch.changed is None else self.batch.changed[self._targets_BT]

    def of(self, rows: Rows) -> "torch.Tensor":
        """Which tokens are meant, `[N]` bool."""
        import torch

        if rows == "all":
            return torch.ones_like(self.replayed_N)
        return self.replayed_N if rows == "replayed" else ~self.replayed_N

    def count(self, rows: Rows) -> int:
        """How many tokens of the whole step are meant."""
        new = self.facts.num_losses - self.facts.num_replayed
        return {"all": self.facts.num_losses, "new": new, "replayed": self.facts.num_replayed}[rows]

    def teacher(self, name: str, rows: Rows) -> Outputs | None:
        """What a teacher says at the tokens meant, in their order; none where there are none. Asked once."""
        if (name, rows) not in self._answers:
            import torch

            wanted_B = torch.ones_like(self._replayed_B) if rows == "all" else self._replayed_B == (rows == "replayed")
            part = self.batch.only(wanted_B)
            if part is None:
                return None
            self._answers[name, rows] = self.teachers[name].outputs(part)
        return self._answers[name, rows]

    def by_source(self) -> list[tuple[str, float, int]]:
        """Source, sum of nats and number of loss tokens of every row."""
        import torch

        sums_B = torch.zeros(len(self.batch.sources), device=self.nats_N.device)
        sums_B.index_add_(0, self.row_N, self.nats_N.detach())
        counts_B = self._targets_BT.sum(dim=1)
        return list(zip(self.batch.sources, sums_B.tolist(), counts_B.tolist(), strict=True))

    @cached_property
    def _targets_BT(self) -> "torch.Tensor":
        targets_BT = self.batch.loss_mask.clone()
        targets_BT[:, 0] = False
        return targets_BT

    @cached_property
    def _replayed_B(self) -> "torch.Tensor":
        import torch

        return torch.tensor([is_replayed(source) for source in self.batch.sources], device=self.batch.input_ids.device)


def is_replayed(source: str) -> bool:
    """Whether a source is replayed."""
    return source.startswith(REPLAY)


def sum_of(values: "Iterable[torch.Tensor]") -> "torch.Tensor | None":
    """The sum of some terms; none if there are none."""
    total = None
    for value in values:
        total = value if total is None else total + value
    return total
