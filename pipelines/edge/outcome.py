"""How a refresh ended: a value, shown as one table."""

from typing import Literal

from pydantic import Field

from steps.core.artifacts import Comparison, Frozen, Gap, ItemUse, Role

Kind = Literal["accepted", "rejected", "undecided", "unchanged"]
EXIT_CODES: dict[str, int] = {"accepted": 0, "unchanged": 0, "rejected": 10, "undecided": 11}


class TaskRow(Frozen):
    """One task's line of the table: losses in nats/token on the anchor hold-out, counts in records or loss tokens."""

    task: str
    role: Role
    before: float | None = None
    after: float | None = None
    change: float | None = None
    low: float | None = None
    high: float | None = None
    num_items: int = 0
    planned_tokens: int = 0
    achieved_tokens: int = 0
    planned_replay: int = 0
    achieved_replay: int = 0
    landed: int = 0
    kept: int = 0
    held_out: int = 0
    dropped: dict[str, int] = Field(default_factory=dict)
    quarantined: dict[str, int] = Field(default_factory=dict)
    superseded: int = 0
    held: str = Field("", description="why its batches are held; its records are then in none of the counts")


class Outcome(Frozen):
    """The end of one refresh."""

    kind: Kind
    attempt: str = ""
    parent: str = ""
    version: str | None = None
    reasons: tuple[str, ...] = ()
    rows: tuple[TaskRow, ...] = ()
    comparisons: tuple[Comparison, ...] = ()
    samples: dict[str, tuple[str, str]] = Field(default_factory=dict, description="continuation before, after; by task")
    run_id: str = ""
    seconds: float = 0.0
    device_seconds: float = Field(
        0.0, description="spent in train, merge, evaluate and compare, in this attempt's last process"
    )
    tokens: int = Field(0, description="loss tokens trained on")
    trained: tuple[str, ...] = Field((), description="the tasks that the version was trained on")
    told: tuple[str, ...] = Field((), description="why it was mixed as it was, in sentences")
    gap: dict[str, Gap] = Field(default_factory=dict, description="by task: how much worse it was on the way")
    transfer: dict[str, float] = Field(default_factory=dict, description="what the matrix says of it")
    verdicts: int = Field(1, description="times it was judged: a candidate that was repaired is judged once more")
    uses: dict[str, ItemUse] = Field(default_factory=dict, description="verdicts that hold-out items were used for")
    repeated: bool = Field(False, description="this attempt was judged before; this is its verdict again")

    @property
    def exit_code(self) -> int:
        """0 accepted or nothing new, 10 rejected, 11 undecided."""
        return EXIT_CODES[self.kind]
