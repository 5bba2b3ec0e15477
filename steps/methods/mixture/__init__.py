"""How the loss tokens of a refresh are spread over new and replayed text.

A method has one verb, `decide`; two that need short runs of the user's own model first (`pilots`, `learn`); and one
that looks again while training runs (`steer`). Shares are of **loss tokens**, whatever the method: replay takes the
place of new text, it never comes on top. The stage `plan` turns shares into whole tokens and caps repetition. Losses
are in nats per token, of validation items only.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, model_validator

from steps.core.artifacts import Frozen
from steps.core.method import Method

Weight = Annotated[float, Field(ge=0)]


class Fit(Frozen):
    """A law that `perennial pilot` fitted, as a recipe names it."""

    path: str = Field(description="its plan.json, relative to the workspace")
    digest: str = Field(pattern=r"^[0-9a-f]{64}$", description="SHA-256 of that file")


@dataclass(frozen=True)
class Supply:
    """What there is to mix, and what may be looked at to decide.

    `new` and `replay`: task -> tokens at hand. `losses()`: task -> the parent's mean validation loss. `read(fit)`: what
    the file of a fit holds, its digest checked.
    """

    new: Mapping[str, int]
    replay: Mapping[str, int]
    budget_tokens: int
    max_epochs: float
    num_parameters: int
    losses: Callable[[], Mapping[str, float]]
    read: Callable[[Fit], dict[str, Any]]


class Shares(Frozen):
    """How one stage of training is mixed. Weights need not sum to one; a task without a weight gives nothing."""

    replay: float = Field(ge=0, le=1, description="share of the loss tokens that is replayed")
    new_weights: dict[str, Weight] = Field(description="task -> its weight among new text")
    replay_weights: dict[str, Weight] = Field(description="task -> its weight among replayed text")
    part: float = Field(1.0, gt=0, le=1, description="this stage's part of the budget")


class Decision(Frozen):
    """What a method decided, and why."""

    stages: tuple[Shares, ...] = Field(min_length=1, description="in the order of training; their parts sum to 1")
    predicted: dict[str, float] = Field(default_factory=dict, description="task -> validation loss after training")
    told: tuple[str, ...] = Field((), description="why, in sentences with numbers")
    steered: dict[str, Any] | None = Field(
        None,
        description="the mixture that train asks for new shares by `steer`, as a recipe spells it; none: not steered",
    )

    @model_validator(mode="after")
    def _whole(self) -> "Decision":
        parts = [stage.part for stage in self.stages]
        if abs(sum(parts) - 1) > 1e-9:
            raise ValueError(f"plan.mixture: wanted parts of stages that sum to 1, found {parts}")
        return self

    def check(self, supply: Supply) -> None:
        """Refuse to train on what is not there.

        Raises:
            ValueError: a weight names a task without text, or new text is wanted of no task.
        """
        for stage in self.stages:
            weights = {f"new/{task}" for task in stage.new_weights} | {
                f"replay/{task}" for task in stage.replay_weights
            }
            there = {f"new/{task}" for task in supply.new} | {f"replay/{task}" for task in supply.replay}
            if unknown := sorted(weights - there):
                raise ValueError(
                    f"plan.mixture: there is no text of {', '.join(unknown)}; weigh some of {sorted(there)}"
                )
            if stage.replay < 1 and not sum(stage.new_weights.values()):
                raise ValueError(
                    f"plan.mixture: a share of {1 - stage.replay:g} is new text, but no task has weight; weigh some of "
                    f"{sorted(supply.new)}"
                )


class Trial(Frozen):
    """One pilot that a method wants: a short run at these shares."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]{0,62}$")
    shares: Shares
    num_tokens: int = Field(gt=0, description="loss tokens of the run")
    held_out: bool = Field(False, description="not fitted: the law's prediction is checked against it")
    seed: int = Field(0, ge=0, description="of its training; pilots of one shares with other seeds show the noise")


class Pilot(Frozen):
    """What a pilot showed: validation loss by task, at the start and at every validation."""

    trial: Trial
    tokens: tuple[int, ...] = Field(description="loss tokens seen at each validation, ascending, the first 0")
    losses: dict[str, tuple[float, ...]] = Field(description="task -> loss at each, nats per token")
    num_parameters: int


class Mixture(Method, ABC):
    """The slot: shares of loss tokens by source."""

    @abstractmethod
    def decide(self, supply: Supply, seed: int) -> Decision:
        """The shares of this refresh.

        Raises:
            ValueError: a knob names a task that is not there, or the method needs a fit that the recipe does not name.
        """

    def pilots(self, supply: Supply, seed: int) -> tuple[Trial, ...]:
        """The short runs that `learn` needs; none for a method that needs no fit."""
        return ()

    @property
    def needs_validations(self) -> int:
        """How often a pilot must be validated after its start for `learn` to fit it."""
        return 1

    def learn(self, supply: Supply, pilots: Sequence[Pilot], roles: Mapping[str, str], seed: int) -> dict[str, Any]:
        """The law behind `decide`, as JSON values: parameters, intervals, checks, `recommended`, `predicted`, `told`.

        `roles`: task -> `train` or `replay-only`.

        Raises:
            ValueError: the pilots cannot carry the fit; the message says why and what to run instead.
        """
        raise ValueError(f"mixture {self.method_name()} fits nothing: it needs no pilots")

    def steer(self, rounds: Sequence[Mapping[str, float]], current: Mapping[str, float]) -> dict[str, float]:
        """New shares by source, from validation losses by task of each round so far (the first before training).

        `current`: the shares decided by `decide`. Asked only of a method whose decision is `steered`.
        """
        raise ValueError(f"mixture {self.method_name()} is not steered")
