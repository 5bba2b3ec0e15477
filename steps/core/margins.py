"""Margins: how much a task or a suite may lose, as plain text: `0.05 nats`, `2 points`, `3 %`."""

import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

from steps.core.artifacts import Frozen

REST = "all other tasks"
TEXT = re.compile(r"\s*([0-9.eE+-]+)\s*(nats?(?:/token)?|points?|%|per ?cent)?\s*")


class Margin(Frozen):
    """An amount and its unit; per cent is of what the other model loses or scores on average."""

    amount: float = Field(gt=0)
    unit: Literal["nats", "points", "per cent"] = "nats"

    def allowed(self, name: str, unit: Literal["nats", "points"], mean: float) -> float:
        """The margin in the unit of what is judged, whose mean under the other model is `mean`.

        Raises:
            ValueError: nats of a suite or points of a task.
        """
        if self.unit == "per cent":
            return self.amount / 100 * mean
        if self.unit != unit:
            wanted = "a suite's score is in points" if unit == "points" else "a task's loss is in nats"
            raise ValueError(f"gate.margins: {name}: {wanted}, found {self}; write {unit} or %")
        return self.amount

    def __str__(self) -> str:
        return f"{self.amount:g} {'%' if self.unit == 'per cent' else self.unit}"


def _read(value: Any) -> Any:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return Margin(amount=value)
    if not isinstance(value, str):
        return value
    found = TEXT.fullmatch(value)
    try:
        amount = float(found[1]) if found else None
    except ValueError:
        amount = None
    if found is None or amount is None:
        raise ValueError("wanted a number with `nats`, `points` or `%`, as in `0.05 nats`, `2 points`, `3 %`")
    unit = (found[2] or "nats")[:3]
    return Margin(amount=amount, unit="nats" if unit == "nat" else "points" if unit == "poi" else "per cent")


def _write(margin: Margin) -> float | str:
    """A number stays a number, so that recipes from before there were units keep their text."""
    if margin.unit == "nats":
        return margin.amount
    return f"{margin.amount!r} {'%' if margin.unit == 'per cent' else margin.unit}"


Written = Annotated[
    Margin,
    BeforeValidator(_read),
    PlainSerializer(_write),
    WithJsonSchema({"type": ["number", "string"], "description": "0.05 nats, 2 points or 3 %; a number is nats"}),
]


def margin_of(margins: Mapping[str, Margin], name: str, default: Margin) -> Margin:
    """The margin of a task, suite or group: by its name, or by the first pattern that it fits."""
    if name in margins:
        return margins[name]
    return next((margin for pattern, margin in margins.items() if fnmatchcase(name, pattern)), default)


def groups_of(tasks: Iterable[str], groups: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """The tasks of each group; those that fit no pattern are a group of their own.

    Raises:
        ValueError: a task fits two groups.
    """
    found: dict[str, list[str]] = {}
    for task in sorted(tasks):
        fits = [name for name, patterns in groups.items() if any(fnmatchcase(task, pattern) for pattern in patterns)]
        if len(fits) > 1:
            raise ValueError(f"gate.groups: {task} is in {' and in '.join(fits)}; a task belongs to one group")
        found.setdefault(fits[0] if fits else REST, []).append(task)
    return {name: tuple(members) for name, members in found.items()}
