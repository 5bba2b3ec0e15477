"""The nouns: what the stages of a refresh hand to each other.

An artifact is a frozen value: a digest of its content, the folder that holds its bytes (relative to the
workspace), and the counts that a reader asks for first. It is written into `record.json` and read back from it.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

Role = Literal["train", "replay-only", "eval-only"]


class Frozen(BaseModel):
    """A value: equal by content, refuses unknown fields."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Artifact(Frozen):
    """A value with a digest: the identity of the bytes or facts behind it."""

    digest: str = Field(description="SHA-256 of the content, in hexadecimal; never of a path or a time")


class TaskFacts(Frozen):
    """The facts of one task, as `data/tasks.yaml` states them."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$", description="the task's name, also its folder")
    role: Role = Field("train", description="train; replay-only: drawn as replay; eval-only: judged, never trained on")
    contract: str = Field("documents", description="its Great Expectations suite: data/contracts/<contract>.json")
    clean_contract: str = Field("", description="the suite of its cleaned documents, likewise; empty: none")
    language: str = Field("en", description="ISO 639-1 code of documents that state none")
    licence: str = Field("unknown", description="SPDX identifier of documents that state none")
    licences: tuple[str, ...] = Field((), description="licences allowed; empty: any")


class Batch(Artifact):
    """One landing of a task, immutable: `data/landing/<task>/<name>/`."""

    task: str
    name: str
    path: str
    time: str = Field(description="when it landed, ISO 8601, UTC: the time of documents that state none")
    removals: tuple[str, ...] = Field((), description="keys that this landing withdraws")
    released: bool = Field(False, description="a rule of clean held it, and a person let it pass")


class Landed(Artifact):
    """The batches of one task that no accepted refresh has consumed, oldest first."""

    task: TaskFacts
    batches: tuple[Batch, ...]


class Corpus(Artifact):
    """The documents of one task's batches, in one schema: `<path>/documents.jsonl`."""

    task: TaskFacts
    path: str
    num_landed: int = Field(description="records in the batches, readable or not")
    num_documents: int
    quarantined: dict[str, int] = Field(description="records set aside, by reason; kept in <path>/quarantine.jsonl")
    withdrawn: tuple[str, ...] = Field((), description="keys withdrawn by the batches")
    held: str = Field("", description="why these batches are held; empty: they are not")
    released: bool = Field(False, description="a person let a batch of these pass: clean does not hold it again")


class Segment(Artifact):
    """One immutable piece of state, made by one refresh."""

    path: str


class State(Artifact):
    """What accepted refreshes left, as a list of segments, oldest first."""

    segments: tuple[Segment, ...] = ()


class Index(State):
    """Every document that accepted refreshes kept: key, task and content hash."""


class Buffer(State):
    """The replay buffer: documents that later refreshes may draw again."""

    num_tokens: dict[str, int] = Field(default_factory=dict, description="tokens held, by task")


class HoldoutState(State):
    """Documents and items that no refresh trains on."""


class Validation(Artifact):
    """Hold-out items that planning, training and merging may look at: `<path>/<task>/validation.jsonl`."""

    path: str
    num_items: dict[str, int]


class GateItems(Artifact):
    """Hold-out items that only evaluate and gate may look at: `<path>/<task>/{anchor,fresh,recent}.jsonl`."""

    path: str
    anchor: dict[str, int] = Field(description="items of the frozen set, by task")
    fresh: dict[str, int] = Field(description="items of this refresh's batches, by task")
    pooled: tuple[str, ...] = Field((), description="tasks whose fresh set was too small and is their anchor set")
    recent: dict[str, int] = Field(
        default_factory=dict, description="items that were fresh in a refresh before, and are not yet retired, by task"
    )


class Holdout(Artifact):
    """What is held out, in two disjoint parts."""

    path: str
    rows: str = Field(description="folder of `<task>.npy`: which records are free, held out or superseded")
    state: HoldoutState
    validation: Validation
    gate: GateItems
    held_out: dict[str, int] = Field(description="records of this attempt held out, by task")
    fresh_refreshes: int = Field(1, description="refreshes that a fresh set is judged in, its own the first")


class Kept(Artifact):
    """The documents that passed cleaning: `<path>/<task>/documents.jsonl`; the rest in `dropped.jsonl` beside it."""

    path: str
    tasks: tuple[TaskFacts, ...]
    kept: dict[str, int]
    dropped: dict[str, dict[str, int]] = Field(description="task -> reason -> records")
    superseded: dict[str, int] = Field(description="records replaced by a later record of this attempt, by task")
    stale: tuple[str, ...] = Field(description="keys superseded or withdrawn: out of the parent's buffer and index")
    index: Index
    holdout: Holdout = Field(description="that of split, without the tasks that are held")
    held: dict[str, str] = Field(default_factory=dict, description="task -> why its batches are held")
    rebuilt: bool = Field(False, description="the index was made with other settings, and was made anew")

    @property
    def trains(self) -> bool:
        """Whether a task to train on is left."""
        return any(task.role == "train" for task in self.tasks)


class Chosen(Artifact):
    """The documents worth their tokens: `<path>/<task>/documents.jsonl`."""

    path: str
    tasks: tuple[TaskFacts, ...]
    num_documents: dict[str, int]
    num_tokens: dict[str, int]
    stale: tuple[str, ...]
    left: dict[str, int] = Field(default_factory=dict, description="documents passed over, by task; <task>/left.jsonl")


class MixturePlan(Artifact):
    """How many loss tokens each source gives. A source is `new/<task>` or `replay/<task>`."""

    tokens: dict[str, int] = Field(description="loss tokens of the whole refresh, by source")
    replay_share: float = Field(description="planned share of loss tokens that are replayed, 0..1")
    stages: tuple[dict[str, int], ...] = Field(
        (), description="loss tokens by source in each stage of training, in its order; empty: one stage"
    )
    steered: dict[str, Any] | None = Field(
        None, description="the mixture that train asks for new shares, as a recipe spells it; none: shares are fixed"
    )
    at_hand: dict[str, int] = Field(
        default_factory=dict, description="steered only: loss tokens that each source can give at most"
    )
    predicted: dict[str, float] = Field(
        default_factory=dict, description="task -> validation loss at the end of training, nats/token, as planned"
    )
    told: tuple[str, ...] = Field((), description="why these shares, in sentences")


class TrainingSet(Artifact):
    """Packed streams, one per source, and the draws of their blocks: see `steps/core/streams.py`."""

    path: str
    num_steps: int
    blocks_per_step: int
    block_tokens: int
    planned: dict[str, int] = Field(description="loss tokens planned, by source")
    achieved: dict[str, int] = Field(description="loss tokens that carry loss, by source; steered: of the first shares")
    steered: dict[str, Any] | None = Field(None, description="as in the plan")


class Model(Artifact):
    """A checkpoint folder that transformers loads; the digest is that of its weights and tokenizer."""

    path: str
    num_parameters: int
    adapter: str | None = Field(None, description="folder of the adapter that was merged into it")


class TrainingState(Artifact):
    """What the next refresh's training continues from, beside the model."""

    path: str | None = None


class Gap(Frozen):
    """How much worse a task became while training: its validation loss over that before the first step."""

    depth_nats: float = Field(description="largest rise, nats/token; 0: it never rose")
    worst_step: int = Field(description="the step after which the loss was largest; 0: it never rose")
    recovery_steps: int | None = Field(description="steps from there until the loss is back; none: it never was")
    area_nats: float = Field(description="sum of the rises, each times the steps since the look before")


class Trained(Artifact):
    """What training made."""

    model: Model
    state: TrainingState
    num_steps: int
    achieved: dict[str, int] = Field(default_factory=dict, description="loss tokens trained on, by source")
    history: str = Field(description="file with one JSON object per step: losses, learning rate, norms")
    gap: dict[str, Gap] = Field(default_factory=dict, description="by task, where validation looked often enough")
    checkpoints: tuple[Model, ...] = Field((), description="its models at the last checkpoints, oldest first")

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks whose new text it was trained on."""
        return tuple(sorted(source.removeprefix("new/") for source in self.achieved if source.startswith("new/")))


class Score(Frozen):
    """One task's mean over its items."""

    loss_nats_per_token: float
    bits_per_byte: float
    num_items: int
    num_documents: int
    num_tokens: int


class SuiteScore(Frozen):
    """One suite's mean over its questions."""

    metric: str = Field(description="what the score of a question is, e.g. accuracy")
    score: float = Field(description="mean over the questions, 0..1; higher is better")
    num_items: int


class Report(Artifact):
    """What a model scores: `<path>/items.jsonl` has one line per item."""

    path: str
    model: str = Field(description="digest of the model that was evaluated")
    anchor: dict[str, Score]
    fresh: dict[str, Score]
    recent: dict[str, Score] = Field(default_factory=dict, description="what was fresh and is not retired")
    sampled: dict[str, int] = Field(
        default_factory=dict, description="items of a task that its sample was drawn from; others are judged whole"
    )
    samples: dict[str, str] = Field(default_factory=dict, description="a short continuation per task")
    suites: dict[str, SuiteScore] = Field(
        default_factory=dict, description="by suite; `<path>/suites.jsonl` has one line per question"
    )


class MatrixRow(Frozen):
    """One version's anchor losses (nats/token), by task; `trained` names the tasks that it was trained on."""

    version: str
    losses: dict[str, float]
    trained: tuple[str, ...] = ()
    num_items: dict[str, int] = Field(
        default_factory=dict, description="anchor items and suite questions it was judged by"
    )
    verdicts: int = Field(1, description="verdicts since the row before, its own among them; the base's count for none")


class History(Artifact):
    """The accepted versions of the line, the base first."""

    rows: tuple[MatrixRow, ...] = ()
    verdicts: int = Field(0, description="verdicts since the last row: attempts that were not accepted")


class Comparison(Frozen):
    """One test of the gate. A change is harm where it is positive: a higher loss, or points of a score lost."""

    task: str = Field(description="the task, the suite, or the group of tasks")
    scope: Literal["task", "suite", "group"] = "task"
    against: str = Field(description="champion, or the name of a pinned reference")
    kind: Literal["non-inferiority", "superiority", "must-hold"]
    outcome: Literal["pass", "fail", "undecided"]
    part: Literal["anchor", "fresh", "recent"] = Field("anchor", description="the set of hold-out items")
    unit: Literal["nats", "points"] = Field("nats", description="nats/token of loss; points of 100 of a score")
    change: float = Field(description="mean paired change; negative is better")
    low: float = Field(description="lower end of the 95 % interval of the change")
    high: float = Field(description="upper end of the 95 % interval of the change")
    margin: float = Field(description="0 for superiority")
    p_value: float
    power: float | None = Field(None, description="probability that an unchanged model passes with these items")
    num_items: int
    num_documents: int
    more_items: int | None = Field(None, description="undecided: about how many more would decide; none: no saying")
    reason: str

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, fields: Any) -> Any:
        """Records from before there were suites say the unit in the names."""
        if not isinstance(fields, dict) or "change_nats" not in fields:
            return fields
        part = {"part": "fresh"} if fields.get("kind") == "superiority" else {}
        return {name.removesuffix("_nats"): value for name, value in fields.items()} | part


class ItemUse(Frozen):
    """How often a task's anchor items, or a suite's questions, decided: this verdict is one."""

    mean: float
    most: int


class Verdict(Artifact):
    """What the gate says, in words and numbers."""

    outcome: Literal["pass", "fail", "undecided"]
    reasons: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    row: MatrixRow = Field(description="the candidate's row of the matrix version x task")
    baseline_row: MatrixRow
    transfer: dict[str, float] = Field(
        description="average, learning accuracy, backward transfer, forgetting (of -loss)"
    )
    uses: dict[str, ItemUse] = Field(
        default_factory=dict, description="by task or suite: verdicts that its items were used for"
    )


class Version(Artifact):
    """One state of the model line, with everything that belongs to it."""

    name: str = Field(description="`base`, or the registry's number")
    model: Model
    training_state: TrainingState
    buffer: Buffer
    index: Index
    holdout: HoldoutState
    history: History
    references: tuple[Model, ...] = Field((), description="pinned: the base and the oldest accepted version")
    consumed: dict[str, tuple[str, ...]] = Field(default_factory=dict, description="task -> batches consumed so far")
