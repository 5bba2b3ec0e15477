"""What changed between two models, as compare tells it: a noun of its own, and its parts."""

from pydantic import Field

from steps.core.artifacts import Artifact, Frozen


class LayerChange(Frozen):
    """How far the weights of one layer, or of the whole model, moved from the parent's."""

    layer: int | None = Field(description="none: outside the layers, or all of them")
    norm: float | None = Field(description="of the update, Frobenius; none: a weight is no number")
    relative: float | None = Field(description="the same over the parent's norm")
    effective_rank: float | None = Field(description="of the update, mean over the matrices that changed")
    intruders: int | None = Field(description="leading directions that are like none of the parent's")
    num_matrices: int
    num_decomposed: int = Field(description="matrices of which rank and intruders are known")


class Divergence(Frozen):
    """How far apart what two models say of the next token is: KL(candidate || other), mean over items."""

    nats_per_token: float
    error_nats: float | None = Field(description="standard error over the items; none: there is one item")
    num_items: int
    num_tokens: int


class Contrast(Frozen):
    """What the candidate says and its parent would not."""

    task: str
    text: str = Field(description="prompt → continuation, personal data masked")
    gap_nats: float = Field(description="how much likelier the candidate finds the continuation, nats/token")


class Changes(Artifact):
    """What changed between parent and candidate; `<path>/matrices.jsonl` has one line per tensor."""

    path: str
    whole: LayerChange | None = Field(None, description="the whole model; none: weights were not compared")
    layers: tuple[LayerChange, ...] = ()
    farthest: dict[str, float] = Field(
        default_factory=dict, description="the matrices that moved most -> update norm over the parent's"
    )
    divergence: dict[str, dict[str, Divergence]] = Field(
        default_factory=dict, description="`base` or `parent` -> task -> KL(candidate || it) on validation text"
    )
    contrasts: tuple[Contrast, ...] = Field((), description="the most telling first")
