"""When a training run looks at its validation items."""

from pydantic import Field

from steps.core.artifacts import Frozen
from steps.core.rows import How


class Looking(Frozen):
    """Knobs of the recipe's section `train` that say when validation looks, and at how much; it changes no weight."""

    validate_steps: int = Field(0, ge=0, description="steps from one validation to the next; 0: at both ends only")
    validate_early: bool = Field(
        False,
        description="validate after steps 1, 2, 4, 8 … too, up to validate_steps: the stability gap is measured",
    )
    validation_items: int = Field(16, ge=0, description="items per task at each validation, the first of them")
    validation_tokens: int = Field(64, gt=1, description="tokens of each item that count")
    update_norm_steps: int = Field(
        10, ge=0, description="steps from one telling of the update norm to the next; 0: none"
    )
    labelled: How = Field("auto", description="how labelled validation items are written; auto: as mix.labelled says")

    def looks(self, step: int) -> bool:
        """Whether the recipe asks for a validation after a step; the last one has it always."""
        if self.validate_steps and step % self.validate_steps == 0:
            return True
        doubles = step & (step - 1) == 0
        return self.validate_early and doubles and (not self.validate_steps or step < self.validate_steps)
