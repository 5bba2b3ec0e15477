"""Try a handful of coefficients of another rule on validation items, and take the best."""

import shutil
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field, SerializeAsAny, ValidationError, model_validator

from steps.core.front import FRONT, Front, Point, Reading
from steps.core.method import Cite, from_recipe
from steps.core.rows import How
from steps.core.shards import write_json
from steps.methods.merge import Merge, Sources


class Sweep(Merge):
    """Make a model at each of some coefficients of a rule, look at each on `validation`, take the best.

    Rule:       candidate = over(knob = v) for the v with the largest gain on the tasks trained on, among those at which
                every task's change + caution standard errors <= margin_nats; if there is none, the v at which the
                largest of these is smallest

    The gain is the mean over the tasks trained on of how far the validation loss fell, each task counting the same. The
    gate's items are not looked at. All that was found is left in `front.json` beside the model.

    Units:      margin and gains in nats/token
    Reduces to: `over` as it is at one value (exact)
    """

    cite: ClassVar[Cite] = Cite(
        title="A choice on validation under a bound on every task", id="ours", where="this file", checked="code"
    )

    over: Annotated[SerializeAsAny[Merge], BeforeValidator(from_recipe("merge"))] = Field(
        description="the rule whose coefficient is swept"
    )
    knob: str = Field("weight", description="which of its coefficients")
    values: tuple[float, ...] = Field(
        (0.03125, 0.0625, 0.125, 0.25, 0.5, 1.0),
        min_length=1,
        max_length=20,
        description="its values; each is one evaluation",
    )
    margin_nats: float = Field(
        0.025,
        gt=0,
        description="nats/token that any task may lose; half the gate's, which wants a whole interval within",
    )
    caution: float = Field(1.0, ge=0, description="standard errors added to a task's change before it is compared")
    validation_items: int | None = Field(None, gt=0, description="items per task, the first of them; none: all")
    validation_tokens: int = Field(60, ge=1, description="tokens of each item that count")
    labelled: How = Field(
        "auto", description="how labelled items are written; auto: by the chat template where there is one"
    )

    @model_validator(mode="after")
    def _has_the_knob(self) -> "Sweep":
        knobs = sorted(type(self.over).model_fields)
        if isinstance(self.over, Sweep) or self.knob not in knobs:
            raise ValueError(
                f"sweep: wanted a rule with the coefficient {self.knob!r}, found {self.over.method_name()} "
                f"with {', '.join(knobs) or 'none'}; name another rule in `over`, or another `knob`"
            )
        for value in self.values:
            self.rule(value)
        return self

    def rule(self, value: float) -> Merge:
        """The rule that is swept, at a value of its coefficient.

        Raises:
            ValueError: it does not take that value.
        """
        knobs: dict[str, Any] = {**self.over.model_dump(mode="json"), self.knob: value}
        knobs.pop("method")
        try:
            return type(self.over).model_validate(knobs)
        except ValidationError as error:
            why = error.errors()[0]["msg"]
            raise ValueError(f"sweep: {self.over.method_name()} takes no {self.knob} of {value:g}: {why}") from error

    def merge(self, sources: Sources, folder: Path) -> Path:
        """Write the model of the value that was taken into a folder, and `front.json` with it.

        Raises:
            ValueError: no task that was trained on has validation items, or the sources do not fit together.
        """
        front = Front(
            rule=self.over.model_dump(mode="json"),
            knob=self.knob,
            margin_nats=self.margin_nats,
            caution=self.caution,
            trained=sources.trained_on,
            points=tuple(self._point(sources, value, folder.with_name(".point.partial")) for value in self.values),
        )
        self.rule(front.chosen.value).merge(sources, folder)
        write_json(folder / FRONT, front.model_dump(mode="json"))
        return folder

    def _point(self, sources: Sources, value: float, aside: Path) -> Point:
        reading = Reading(self.validation_items, self.validation_tokens, self.labelled)
        shutil.rmtree(aside, ignore_errors=True)
        try:
            made = self.rule(value).merge(sources, aside)
            point = Point(value=value, changes=sources.changes(made, reading))
        finally:
            shutil.rmtree(aside, ignore_errors=True)
        if not set(sources.trained_on) & set(point.changes):
            raise ValueError(
                f"sweep: wanted validation items of a task that was trained on ({', '.join(sources.trained_on)}), "
                f"found them of {', '.join(point.changes) or 'none'}; raise split.validation_share, or sweep nothing"
            )
        return point
