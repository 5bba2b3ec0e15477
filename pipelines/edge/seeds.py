"""What the score of noise runs on: a folder for each other seed, the spread of what the seeds made."""

import shutil
import statistics
from collections.abc import Iterator

from pydantic import Field

from pipelines.edge.home import Home
from pipelines.edge.session import Inputs, Progress, Session
from steps.core.artifacts import Frozen, Report
from steps.core.shards import write_json

FOLDER = "noise"


class Spread(Frozen):
    """What the seed alone changes in one task or suite."""

    name: str
    unit: str = Field(description="nats or points; a change is harm where it is positive")
    changes: tuple[float, ...] = Field(description="against the parent, by seed; the candidate's own first")
    spread: float = Field(description="standard deviation over the seeds")
    margin: float = Field(description="what it may lose against the champion")

    def say(self) -> str:
        """In a sentence."""
        digits = 3 if self.unit == "nats" else 1
        low, high = min(self.changes), max(self.changes)
        ends = f"{self.name}: {low:+.{digits}f} to {high:+.{digits}f} {self.unit}"
        if not self.spread:
            return f"{ends}: no seed changes anything"
        times = f"the margin of {self.margin:.{digits}f} is {self.margin / self.spread:,.1f} times as wide"
        return f"{ends}, standard deviation {self.spread:.{digits}f}; {times}"


class Noised(Frozen):
    """How much of a change is the seed's."""

    kind: str = "measured"
    attempt: str
    seeds: tuple[int, ...]
    spreads: tuple[Spread, ...]
    path: str

    @property
    def reasons(self) -> tuple[str, ...]:
        """Each task in a sentence."""
        return tuple(spread.say() for spread in self.spreads)


class Seeds(Session):
    """The session of noise: the stages of the last attempt are read back; what follows a seed is made for each."""

    def __init__(self, home: Home, inputs: Inputs, others: int, *, progress: Progress | None = None) -> None:
        super().__init__(home, inputs.written, prefect=False, track=False, inputs=inputs, progress=progress)
        self._given, self._others = inputs, others
        self._reports: dict[int, Report] = {}

    def runs(self) -> Iterator[Session]:
        """A session for each seed: this one, and others in folders of their own."""
        yield self
        for seed in range(self.recipe.seed + 1, self.recipe.seed + 1 + self._others):
            recipe = self.recipe.model_copy(update={"seed": seed})
            inputs = self._given.model_copy(update={"recipe": recipe.dump()})
            folder = f"data/{FOLDER}/{seed}"
            run = Session(
                self.home, recipe, prefect=False, track=False, inputs=inputs, folder=folder, progress=self._progress
            )
            run.current_parent = self.current_parent
            yield run
            shutil.rmtree(self.home.root / folder, ignore_errors=True)

    def keep(self, run: Session, report: Report) -> None:
        """Keep what a seed made; its weights go."""
        self._reports[run.recipe.seed] = report

    def tell(self, baseline: Report) -> Noised:
        """The spread of every task and suite over the seeds, written down beside the margins."""
        rules, reports = self.recipe.gate, list(self._reports.values())
        spreads = []
        for task, before in baseline.anchor.items():
            changes = [each.anchor[task].loss_nats_per_token - before.loss_nats_per_token for each in reports]
            margin = rules.allowed(task, "task", before.loss_nats_per_token)
            spreads.append(_spread(task, "nats", changes, margin))
        for suite, asked in baseline.suites.items():
            changes = [100 * (asked.score - each.suites[suite].score) for each in reports if suite in each.suites]
            if len(changes) == len(reports):
                spreads.append(_spread(suite, "points", changes, rules.allowed(suite, "suite", 100 * asked.score)))
        path = self._path(FOLDER, "noise.json")
        found = Noised(
            attempt=self.attempt,
            seeds=tuple(self._reports),
            spreads=tuple(spreads),
            path=path.relative_to(self.home.root).as_posix(),
        )
        write_json(path, found.model_dump(mode="json"))
        return found


def _spread(name: str, unit: str, changes: list[float], margin: float) -> Spread:
    return Spread(name=name, unit=unit, changes=tuple(changes), spread=statistics.stdev(changes), margin=margin)


def run_noise(home: Home, others: int, *, wait: float = 0.0, progress: Progress | None = None) -> Noised:
    """Train the candidate of the last attempt again with other seeds.

    Raises:
        Busy: another process holds the workspace for longer than the wait, in seconds.
        ValueError: no attempt was made here, or no other seed is wanted.
    """
    from pipelines.noise import noise

    file = home.root / "data" / "inputs.json"
    if others < 1:
        raise ValueError(f"--seeds: wanted at least 1 other seed, found {others}")
    if not file.exists():
        raise ValueError(f"{file}: no attempt was made here; `perennial refresh` makes one")
    inputs = Inputs.model_validate_json(file.read_text(encoding="utf-8"))
    with home.lock(wait):
        return noise(Seeds(home, inputs, others, progress=progress))
