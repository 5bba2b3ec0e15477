"""What a score runs on: it gives each step its folder, keeps its record, and skips what is already made."""

import functools
import shutil
import time
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar

from pydantic import BaseModel, Field

from pipelines.edge import landing
from pipelines.edge.devices import choose_device, num_gpus, num_processes
from pipelines.edge.fingerprints import code_digest, digests_in, methods_in, methods_of, methods_steering
from pipelines.edge.holding import digest_of_landed, held_tasks, hold, released, remarks
from pipelines.edge.home import Home
from pipelines.edge.orchestration import as_task
from pipelines.edge.outcome import Outcome
from pipelines.edge.prefect_artifacts import run_page, with_bar
from pipelines.edge.ranks import in_processes
from pipelines.edge.runtime import mapper
from pipelines.edge.stages import KEEPS, ON_DEVICE, STAGES, key_of, numbered, title_of
from pipelines.recipe import Recipe
from steps.core.artifacts import Artifact, Frozen, Kept, Landed, Model, Trained, Version
from steps.core.shards import digest_of, write_atomic, write_json
from steps.core.workspace import Workspace

P = ParamSpec("P")
Section = TypeVar("Section", bound=BaseModel)
Made = TypeVar("Made", bound=Artifact)

RESUMES = {"train"}  # goes on from its checkpoints if the same work was interrupted
Progress = Callable[[str, int, int, str], None]  # stage, done, total, what is counted
Choose = Callable[[dict[str, Landed]], dict[str, Landed]]  # which of the batches that wait take part
BY_HAND = "by hand"  # the cause of a refresh that nothing but a person started


class Inputs(Frozen):
    """`data/inputs.json`: everything that a run reads, by content. Every stage of `dvc.yaml` depends on it."""

    attempt: str
    parent: Version
    landed: dict[str, Landed]
    recipe: dict[str, Any] = Field(description="the recipe with every `auto` replaced by what was used")
    written: Recipe = Field(description="the recipe as its file has it")
    code: dict[str, str]


class Record(Frozen):
    """`record.json`: identity only. It is written last, so its presence means that the stage is made."""

    stage: str
    fingerprint: str
    artifact: dict[str, Any]


class Stopped(Exception):
    """`perennial step` has made the stage that it was asked for."""


class Session:
    """One attempt. `do(step, section, *artifacts)` runs a step, or reads back what it made before."""

    def __init__(
        self,
        home: Home,
        recipe: Recipe,
        *,
        prefect: bool = True,
        track: bool = True,
        only: str | None = None,
        task: str | None = None,
        inputs: Inputs | None = None,
        folder: str = "data",
        again: bool = False,
        everything: bool = False,
        progress: Progress | None = None,
        cause: str = BY_HAND,
        choose: Choose | None = None,
    ) -> None:
        self.home = home
        self.cause = cause
        self.prefect = prefect
        self.again = again
        self.folder = folder
        self.started = time.monotonic()
        self.device_seconds = 0.0
        self._spent: dict[str, float] = {}  # seconds by stage, of those that this process made
        self.made: dict[str, Any] = {}
        self.settings = home.settings
        self.device = choose_device(self.settings.device)
        self.written = recipe
        self.recipe = Recipe.model_validate(inputs.recipe) if inputs else recipe.resolved(self.device, home.root)
        self.tasks = landing.load_tasks(home.root)
        self.live = track
        self._only, self._task, self._everything, self._reached = only, task, everything, False
        self._inputs = inputs
        self._part = ""  # of the score; stages that are made again in it have a folder of their own
        self._progress = progress or (lambda stage, done, total, what: None)
        self._choose = choose or (lambda found: found)

    @property
    def title(self) -> str:
        """What the flow run and the MLflow run are called."""
        return f"{self.settings.name} {self.recipe.name}"

    def claim(self, flow_run: str) -> AbstractContextManager[None]:
        """Own a Prefect flow run while this process runs it, so that it can be ended should the process die."""
        from pipelines.edge.owners import claim

        return claim(self.home, flow_run)

    @functools.cached_property
    def registry(self) -> Any:
        """The model registry, opened at first use (MLflow takes seconds to import)."""
        from pipelines.edge.registry import Registry

        return Registry(self.home)

    @functools.cached_property
    def tracker(self) -> Any:
        """The MLflow run of this attempt, opened at first use."""
        from pipelines.edge.tracking import Tracker

        tags = {"recipe": self.recipe.name, "cause": self.cause, "parent": self.current_parent.name}
        if self.prefect and (page := run_page()):
            tags["prefect_run"] = page
        named = {f"perennial.{name}": value for name, value in tags.items()}
        tracker = Tracker(self.home, self.attempt, self.title, named)
        tracker.params({"recipe": self.recipe.dump(), "parent": self.current_parent.name, "attempt": self.attempt})
        return tracker

    def parent(self) -> Version:
        """The champion and all that belongs to it; before the first refresh the base model, the rest empty."""
        from pipelines.edge.lineage import with_verdicts

        self.current_parent = self._inputs.parent if self._inputs else with_verdicts(self.home, self.current())
        return self.current_parent

    def current(self) -> Version:
        """The version that the next refresh starts from.

        Raises:
            ValueError: the recipe names another base than the one that this line began with.
        """
        from pipelines.edge.lineage import base_of

        number = self.registry.champion()
        if number is None:
            return base_of(self.home, self.recipe.base)
        began = self.registry.get(number).tags.get("perennial.base", self.written.base)
        if began != self.written.base:
            raise ValueError(
                f"recipe {self.written.name}: base is {self.written.base!r}, but this workspace's line began with "
                f"{began!r}; give it a workspace of its own (`perennial init DIR`)"
            )
        version: Version = self.registry.version(number)
        return version

    def landed(self, parent: Version) -> dict[str, Landed]:
        """The batches that no accepted refresh has consumed, by task; nothing if no task to train on has any."""
        if self._inputs:
            self.attempt, found = self._inputs.attempt, self._inputs.landed
        else:
            found = self._choose(pending(self.home, parent))
            self.attempt = attempt_of(self.home, parent, self.written, found, again=self.again)
        if not any(part.task.role == "train" for part in found.values()):
            return {}
        self.landings = found
        self._write_inputs(parent, found)
        if self._only == "inputs":
            raise Stopped
        if self._only == "ingest" and self._task:
            if self._task not in found:
                raise Stopped  # its folder is empty, and made
            return {self._task: found[self._task]}
        return found

    def consumed(self, parent: Version) -> dict[str, Landed]:
        """The batches that accepted refreshes consumed, by task, as far as they are on disk."""
        found = {}
        for task, names in parent.consumed.items():
            if task in self.tasks:
                there = tuple(batch for batch in landing.batches(self.home.root, task) if batch.name in names)
                found[task] = Landed(digest=digest_of(names), task=self.tasks[task], batches=there)
        return found

    def _write_inputs(self, parent: Version, found: dict[str, Landed]) -> None:
        code = {word: code_digest([f"steps.{word}"]) for word in Recipe.model_fields if (word in STAGES)}
        inputs = Inputs(
            attempt=self.attempt,
            parent=parent,
            landed=found,
            recipe=self.recipe.dump(),
            written=self.written,
            code=code,
        )
        write_json(self._path("inputs.json"), inputs.model_dump(mode="json"))
        for task in self.tasks:
            if task not in found:  # nothing of this task in this attempt: an empty folder, whoever looks
                empty = self._path("ingest", task)
                shutil.rmtree(empty, ignore_errors=True)
                write_atomic(empty / "record.json", "{}\n")

    def __call__(
        self,
        step: Callable[Concatenate[Workspace, Section, P], Made],
        section: Section,
        *artifacts: P.args,
        **none: P.kwargs,
    ) -> Made:
        """Run a step in its folder and write its record; if the record is there already, read it back."""
        stage = step.__name__
        word = self._part or stage
        if self._only and self._reached and word != self._only:
            raise Stopped
        folder = self._path(stage, *self._inside(stage, artifacts))
        modules = [step.__module__, *methods_in(section), *methods_of(stage), *methods_steering(artifacts)]
        code = code_digest(modules)
        identity = [stage, self.recipe.seed, section.model_dump(mode="json"), digests_in(artifacts), code]
        fingerprint = digest_of(identity)
        made = self._recorded(step, folder, fingerprint)
        wanted = self._only == word and (self._task is None or self._task == folder.name)
        self._reached = self._reached or wanted
        if made is None:
            if self._only and not wanted and not self._everything:
                raise ValueError(f"step {self._only}: {word} comes first and is not made; run `perennial step {word}`")
            made = self._run(step, section, artifacts, folder, fingerprint, code)
        self._note(self._title(stage, folder, artifacts), section, folder, made)
        return made

    @contextmanager
    def part(self, word: str) -> Iterator[None]:
        """Around stages that the score makes a second time: `data/<stage>/<word>`, `perennial step <word>`."""
        self._part = word
        try:
            yield
        finally:
            self._part = ""
        if self._only == word:
            raise Stopped

    def _inside(self, stage: str, artifacts: tuple[Any, ...]) -> tuple[str, ...]:
        first = artifacts[0] if artifacts else None
        if isinstance(first, Landed):
            return (first.task.name,)
        if stage in KEEPS and isinstance(first, Model):
            return (first.digest[:16],)
        return (self._part,) if self._part else ()

    def _title(self, stage: str, folder: Path, artifacts: tuple[Any, ...]) -> str:
        return title_of(stage, folder, artifacts, self.current_parent, self._part)

    def _path(self, *parts: str) -> Path:
        return self.home.root.joinpath(self.folder, *parts)

    def _recorded(self, step: Callable[..., Made], folder: Path, fingerprint: str) -> Made | None:
        kind: type[Made] = typing.get_type_hints(step)["return"]
        try:
            record = Record.model_validate_json((folder / "record.json").read_text(encoding="utf-8"))
            made = kind.model_validate(record.artifact)
        except (FileNotFoundError, ValueError):
            return None
        return made if record.fingerprint == fingerprint and self._present(made) else None

    def _present(self, artifact: Artifact) -> bool:
        state = artifact.state.path if isinstance(artifact, Trained) else None
        if state and not (self.home.root / state).is_dir():
            return False
        parts = (artifact, getattr(artifact, "model", None), *getattr(artifact, "checkpoints", ()))
        models = [part for part in parts if isinstance(part, Model)]
        return all(any((self.home.root / model.path).glob("*.safetensors")) for model in models)

    def _run(
        self,
        step: Callable[..., Made],
        section: BaseModel,
        artifacts: tuple[Any, ...],
        folder: Path,
        fingerprint: str,
        code: str,
    ) -> Made:
        stage = step.__name__
        marker = folder / ".fingerprint"
        same = marker.exists() and marker.read_text(encoding="utf-8") == fingerprint
        if stage not in KEEPS and not (stage in RESUMES and same):
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "record.json").unlink(missing_ok=True)
        if stage in RESUMES:
            write_atomic(marker, fingerprint)
        title, key = self._title(stage, folder, artifacts), key_of(stage, folder)
        if self.live:
            self.tracker.begin(key, numbered(title), section.model_dump(mode="json"))
        told: Callable[[int, int, str], None] = functools.partial(self._progress, stage)
        workspace = Workspace(
            root=self.home.root,
            path=folder,
            seed=self.recipe.seed,
            code=code,
            device=self.device,
            report=self._report,
            progress=with_bar(stage, told) if self.prefect and stage in ON_DEVICE else told,
            map=mapper(self.settings.runtime, self.home.root),
        )
        self._progress(stage, 0, 0, title.removeprefix(f"{stage} "))
        number = num_processes(step, section, self.settings.training.processes, num_gpus(self.device))
        work = in_processes(number, step, workspace, section, artifacts)
        began = time.monotonic()
        try:
            made = as_task(stage, title, work, prefect=self.prefect)
        finally:
            self._spent[key] = time.monotonic() - began
            self.device_seconds += number * self._spent[key] if stage in ON_DEVICE else 0.0
        marker.unlink(missing_ok=True)
        record = Record(stage=stage, fingerprint=fingerprint, artifact=made.model_dump(mode="json"))
        write_json(folder / "record.json", record.model_dump(mode="json"))
        return made

    def _report(self, step: int, metrics: Mapping[str, float]) -> None:
        if self.live:
            self.tracker.metrics(metrics, step)

    def _note(self, title: str, section: BaseModel, folder: Path, made: Artifact) -> None:
        stage = title.partition(" ")[0]
        key = key_of(stage, folder)
        first = key not in self.made
        self.made[key] = made
        if first and (self.live or self._only == "conclude"):
            if key not in self._spent and not self.tracker.finished(key):  # read back, and not yet told of
                self.tracker.begin(key, numbered(title), section.model_dump(mode="json"))
            self.tracker.stage(key, made, self._spent.get(key))
            if isinstance(made, Kept):
                from pipelines.edge.logbook import data_pages

                self.tracker.files(data_pages(self, made))
        if self._only == stage and self._task == folder.name:
            raise Stopped

    def abandon(self, status: str) -> None:
        """End the MLflow run, if it was opened, before its verdict; the next run of the attempt goes on with it."""
        if "tracker" in self.__dict__:
            self.tracker.end(status)

    def unchanged(self, parent: Version) -> Outcome:
        """Nothing to train on has landed, or all of it is held: nothing is trained or registered."""
        reasons = remarks(self.made) or ["nothing new has landed since the last accepted refresh"]
        if self.made:
            hold(self.home, self.landings, held_tasks(self.made))
        seconds = time.monotonic() - self.started
        return Outcome(kind="unchanged", parent=parent.name, version=parent.name, reasons=reasons, seconds=seconds)

    def conclude(self, *artifacts: Any) -> Outcome:
        """Register the candidate, and promote it if the gate passed it."""
        if self._only and self._only != "conclude":
            raise Stopped
        from pipelines.edge.conclude import conclude

        self._progress("conclude", 0, 0, "register")
        self.tracker.begin("conclude", numbered("conclude"), {})
        work = functools.partial(conclude, self, *artifacts)
        return as_task("conclude", "conclude", work, prefect=self.prefect)


def pending(home: Home, parent: Version) -> dict[str, Landed]:
    """What waits for the next refresh of a version."""
    return unconsumed(home, parent.consumed)


def unconsumed(home: Home, taken: Mapping[str, Sequence[str]]) -> dict[str, Landed]:
    """What waits, by task in the order of `tasks.yaml`: batches neither consumed, held nor discarded."""
    aside, passed = home.held(), released(home)
    found = {}
    for name, facts in landing.load_tasks(home.root).items():
        consumed = set(taken.get(name, ()))
        batches = tuple(
            batch.model_copy(update={"released": (name, batch.name) in passed})
            for batch in landing.batches(home.root, name)
            if batch.name not in consumed and (name, batch.name) not in aside
        )
        if batches:
            digest = digest_of_landed(home.root, facts, batches)
            found[name] = Landed(digest=digest, task=facts, batches=batches)
    return found


def attempt_of(home: Home, parent: Version, recipe: Recipe, found: Mapping[str, Landed], *, again: bool) -> str:
    """The identity of an attempt: parent, recipe and batches; `again` makes a new one of a judged one."""
    facts = [parent.name, parent.digest, recipe.fingerprint(), {task: part.digest for task, part in found.items()}]
    attempt = digest_of(facts)[:32]
    if again:
        repeats = sum(event["event"] == "verdict" and event["attempt"].startswith(attempt) for event in home.ledger())
        return f"{attempt}-{repeats + 1}" if repeats else attempt
    return attempt
