"""What the score of pilots runs on: a folder for each short run, one MLflow run over all, `plan.json`.

A pilot is made once: its folder `data/pilots/<fingerprint>/` keeps what it showed, `pilot.json` and `history.jsonl`;
its text and its weights go when it is done. A fit is `data/pilots/<recipe>-<digest>/plan.json`, never written over.
"""

import functools
import itertools
import json
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from pipelines.edge import pilot_plots
from pipelines.edge.fingerprints import code_digest, methods_in
from pipelines.edge.holding import remarks
from pipelines.edge.home import Home
from pipelines.edge.orchestration import as_task
from pipelines.edge.session import Progress, Session
from pipelines.recipe import Recipe
from steps.core.artifacts import Chosen, Frozen, MixturePlan, Trained, TrainingSet, Validation, Version
from steps.core.blocks import Blocks
from steps.core.shards import digest_of, digest_of_file, read_lines, write_atomic, write_json
from steps.core.workspace import Workspace
from steps.methods.mixture import Decision, Mixture, Pilot, Supply, Trial
from steps.plan import planned, supply_of
from steps.train import TrainConfig

FOLDER, MADE, PLAN = "pilots", "pilot.json", "plan.json"
LOSS = "train/validation_"  # as train names it
GROUPS = {"domain": "train", "general": "replay-only"}  # by the roles of their tasks
Kind = Literal["fitted", "refused", "needless", "unchanged"]
EXIT_CODES: dict[str, int] = {"fitted": 0, "needless": 0, "unchanged": 0, "refused": 10}


class Piloted(Frozen):
    """How pilots ended."""

    kind: Kind
    recipe: str
    reasons: tuple[str, ...] = Field((), description="what was found, or why nothing was")
    pilots: tuple[Pilot, ...] = ()
    roles: dict[str, str] = Field(default_factory=dict, description="task -> role, of the tasks that were validated")
    plan: dict[str, Any] = Field(default_factory=dict, description="what plan.json holds")
    path: str = Field("", description="plan.json, relative to the workspace")
    digest: str = Field("", description="its SHA-256: with the path all that a recipe's `fit` names")
    tokens: int = Field(0, description="loss tokens that the pilots cost")
    budget_tokens: int = Field(0, description="loss tokens of the full run")
    run_id: str = ""
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """0 fitted or nothing to do, 10 refused."""
        return EXIT_CODES[self.kind]


class Pilots(Session):
    """The session of pilots: data stages as in a refresh, then `trials`, then `learn`."""

    def __init__(self, home: Home, recipe: Recipe, *, prefect: bool = True, progress: Progress | None = None) -> None:
        super().__init__(home, recipe, prefect=prefect, track=False, progress=progress)
        self.runs: list[Run] = []

    @property
    def title(self) -> str:
        """What the flow run and the MLflow run are called."""
        return f"{super().title} pilots"

    @functools.cached_property
    def tracker(self) -> Any:
        """The MLflow run over these pilots; the same pilots again go on with it."""
        from pipelines.edge.tracking import Tracker

        tags = {"recipe": self.recipe.name, "cause": self.cause, "parent": self.current_parent.name, "kind": "pilots"}
        tracker = Tracker(self.home, self.identity, self.title, {f"perennial.{key}": tag for key, tag in tags.items()})
        tracker.params({"recipe": self.recipe.dump(), "parent": self.current_parent.name, "num_pilots": len(self.runs)})
        return tracker

    @functools.cached_property
    def identity(self) -> str:
        """Digest of all that decides what is learned."""
        plan, runs = self.recipe.plan, [[run.fingerprint, run.trial.model_dump(mode="json")] for run in self.runs]
        return digest_of([self.recipe.seed, plan.model_dump(mode="json"), self._supplied(), runs, self._plan_code()])

    def _plan_code(self) -> str:
        return code_digest(["steps.plan", *methods_in(self.recipe.plan)])

    def _supplied(self) -> list[Any]:
        return [dict(self.supply.new), dict(self.supply.replay), self.supply.num_parameters]

    def trials(self, chosen: Chosen, parent: Version, validation: Validation) -> Iterator["Run"]:
        """The pilots that the mixture wants and that are not made yet.

        Raises:
            ValueError: there is no new text, or the mixture cannot plan with what there is.
        """
        config = self.recipe.plan
        workspace = Workspace(self.home.root, self._path(FOLDER), seed=self.recipe.seed, device=self.device)
        self.supply: Supply = supply_of(workspace, config, chosen, parent.buffer, parent.model, validation)
        self.roles = {task: self.tasks[task].role for task in sorted(validation.num_items) if task in self.tasks}
        wanted = config.mixture.pilots(self.supply, self.recipe.seed)
        inputs = [part.digest for part in (chosen, parent.buffer, parent.model, parent.training_state, validation)]
        self.runs = [Run(self, trial, f"{n}/{len(wanted)}", inputs) for n, trial in enumerate(wanted, 1)]
        for run in self.runs:
            run.check(config.mixture)
        self._clear()
        for run in self.runs:
            self.tracker.begin(run.key, run.trial.name, run.trial.model_dump(mode="json"))
            if run.shown is None:
                yield run
            self._log(run)

    def _clear(self) -> None:
        """Remove the text and weights of pilots that were cut off and are not wanted any more, or that are made."""
        ours = {run.folder for run in self.runs if run.shown is None}
        for folder in sorted(self._path(FOLDER).glob("*/")):
            if folder.relative_to(self.home.root).as_posix() not in ours:
                _strip(folder)

    def _log(self, run: "Run") -> None:
        pilot = run.shown
        assert pilot is not None, f"{run.trial.name}: the score left a pilot that it was given"
        if not self.tracker.finished(run.key):
            for row in read_lines(run.path / "history.jsonl"):
                self.tracker.metrics(_metrics(row), int(row["step"]), run.key)
        self.tracker.metrics({f"pilot/final_{task}": each[-1] for task, each in pilot.losses.items()}, 0, run.key)
        self.tracker.end_child("FINISHED")

    def learn(self) -> Piloted:
        """Fit the mixture's law to the pilots and write what was found; a refusal is an answer."""
        name, mixture = self.recipe.name, self.recipe.plan.mixture
        if not self.runs:
            why = f"mixture {mixture.method_name()} needs no pilots: `perennial refresh` can use the recipe as it is"
            return Piloted(kind="needless", recipe=name, reasons=(why,), budget_tokens=self.supply.budget_tokens)
        pilots = tuple(run.shown for run in self.runs if run.shown is not None)
        spent = sum(pilot.tokens[-1] for pilot in pilots)
        facts: dict[str, Any] = {"recipe": name, "pilots": pilots, "roles": self.roles, "tokens": spent}
        facts |= {"budget_tokens": self.supply.budget_tokens, "run_id": self.tracker.run_id}
        self._progress("learn", 0, 0, "")
        path = self._path(FOLDER, f"{name}-{self.identity[:12]}", PLAN)
        self.tracker.metrics({"cost/tokens": spent, "pilot/number": len(pilots)})
        work = functools.partial(_learned, mixture, self.supply, pilots, self.roles, self.recipe.seed)
        content = as_task("learn", "learn", work, prefect=self.prefect)
        if isinstance(content, ValueError):
            error = content
            self.tracker.end("FINISHED", {"perennial.verdict": "refused", "perennial.reason": str(error)[:4000]})
            return Piloted(kind="refused", reasons=(str(error),), **facts, seconds=self._seconds)
        content |= {
            "parent": self.current_parent.model.digest,
            "cost": {
                "num_pilots": len(pilots),
                "tokens": spent,
                "share_of_full_run": spent / self.supply.budget_tokens,
            },
            "pilots": [pilot.model_dump(mode="json") for pilot in pilots],
        }
        write_json(path, content)
        self._picture(path, content)
        digest, told = digest_of_file(path), tuple(content.get("told", ()))
        self.tracker.end("FINISHED", {"perennial.verdict": "fitted", "perennial.fit": digest})
        relative = path.relative_to(self.home.root).as_posix()
        facts |= {"plan": content, "path": relative, "digest": digest, "seconds": self._seconds}
        return Piloted(kind="fitted", reasons=told, **facts)

    @property
    def _seconds(self) -> float:
        return round(time.monotonic() - self.started, 1)

    def _picture(self, path: Path, content: Mapping[str, Any]) -> None:
        figure = pilot_plots.laws(content)
        figure.savefig(path.with_suffix(".png"))
        self.tracker.figures({"laws": figure})
        self.tracker.files({"": path})
        self.tracker.metrics({f"plan/predicted_{task}": loss for task, loss in content.get("predicted", {}).items()})
        if "ratio" in content:
            self.tracker.metrics({"plan/share_of_new_text": content["ratio"]})

    def nothing(self) -> Piloted:
        """Nothing to plan for: nothing to train on has landed, or all of it is held."""
        reasons = tuple(remarks(self.made)) or ("nothing new has landed since the last accepted refresh",)
        return Piloted(kind="unchanged", recipe=self.recipe.name, reasons=reasons)


class Run(Session):
    """One pilot: the real mix and train, in a folder of its own, with the seed of its trial."""

    def __init__(self, pilots: Pilots, trial: Trial, number: str, inputs: list[str]) -> None:
        recipe, supply = pilots.recipe.model_copy(update={"seed": trial.seed}), pilots.supply
        config = recipe.plan.model_copy(update={"budget_tokens": trial.num_tokens})
        self.trial, self.key, self._pilots = trial, f"pilot/{trial.name}", pilots
        self.shares: MixturePlan = planned(config, supply, Decision(stages=(trial.shares,)))
        code = code_digest(["steps.mix", "steps.train", *methods_in([recipe.mix, recipe.train, recipe.pilot])])
        sections = [part.model_dump(mode="json") for part in (recipe.mix, recipe.train, recipe.pilot)]
        self.fingerprint = digest_of([trial.seed, self.shares.digest, sections, inputs, code])
        self.folder = f"data/{FOLDER}/{self.fingerprint[:16]}"

        def progress(stage: str, done: int, total: int, what: str) -> None:
            pilots._progress(stage, done, total, what if total else f"{number} {trial.name}")

        super().__init__(
            pilots.home, recipe, prefect=pilots.prefect, track=False, folder=self.folder, progress=progress
        )
        self.current_parent = pilots.current_parent

    @property
    def path(self) -> Path:
        """Its folder."""
        return self.home.root / self.folder

    @property
    def shown(self) -> Pilot | None:
        """What it showed, if it is made."""
        try:
            content = json.loads((self.path / MADE).read_text(encoding="utf-8"))
            if content["fingerprint"] != self.fingerprint:
                return None
            return Pilot.model_validate(content["pilot"]).model_copy(update={"trial": self.trial})
        except (FileNotFoundError, ValueError, KeyError):
            return None

    def check(self, mixture: Mixture) -> None:
        """Refuse to run a pilot that would be too short to be fitted.

        Raises:
            ValueError: it will be validated less often than the mixture needs.
        """
        per_step = self.recipe.mix.blocks_per_step * (self.recipe.mix.block_tokens - 1)
        steps = -(-self.trial.num_tokens // per_step)
        found = steps // self._validate_steps(steps)
        if found < mixture.needs_validations:
            raise ValueError(
                f"pilot {self.trial.name}: {self.trial.num_tokens:,} tokens are {steps} optimiser steps, validated "
                f"{found} times; {mixture.method_name()} wants at least {mixture.needs_validations}: raise "
                f"{'pilot.validations' if steps >= mixture.needs_validations else 'plan.mixture.pilot_tokens'}"
            )

    def _validate_steps(self, num_steps: int) -> int:
        return max(1, num_steps // self.recipe.pilot.validations)

    def section(self, training_set: TrainingSet) -> TrainConfig:
        """The recipe's training, validated as often as pilots want it."""
        wanted = self.recipe.pilot
        knobs: dict[str, Any] = {"validate_steps": self._validate_steps(training_set.num_steps)}
        knobs |= {"validate_early": False, "keep_checkpoints": 0}  # a law is fitted to looks at equal distances
        for knob in ("validation_items", "validation_tokens", "schedule"):
            if (value := getattr(wanted, knob)) is not None:
                knobs[knob] = value
        return self.recipe.train.model_copy(update=knobs)

    def keep(self, training_set: TrainingSet, trained: Trained) -> None:
        """Keep what it showed; its text and its weights go.

        Raises:
            ValueError: nothing was validated.
        """
        history = self.home.root / trained.history
        rows = [row for row in read_lines(history) if any(name.startswith(LOSS) for name in row)]
        names = [name for name in (rows[0] if rows else {}) if name.startswith(LOSS)]
        if not names:
            raise ValueError(
                "pilot: no task has validation items; raise split.validation_share or train.validation_items"
            )
        blocks = Blocks(self.home.root / training_set.path, training_set)
        seen = [0, *itertools.accumulate(blocks.num_losses(step) for step in range(1, training_set.num_steps + 1))]
        pilot = Pilot(
            trial=self.trial,
            tokens=tuple(seen[int(row["step"])] for row in rows),
            losses={name.removeprefix(LOSS): tuple(float(row[name]) for row in rows) for name in names},
            num_parameters=trained.model.num_parameters,
        )
        write_atomic(self.path / "history.jsonl", history.read_bytes())
        write_json(self.path / MADE, {"fingerprint": self.fingerprint, "pilot": pilot.model_dump(mode="json")})
        _strip(self.path)

    def _report(self, step: int, metrics: Mapping[str, float]) -> None:
        self._pilots.tracker.metrics(metrics, step, self.key)

    def _note(self, *_: Any) -> None:
        """A pilot's stages have no MLflow runs of their own."""


def _learned(mixture: Mixture, *given: Any) -> dict[str, Any] | ValueError:
    """What a mixture learned, or why it refuses: an answer, not a task that failed."""
    try:
        return mixture.learn(*given)
    except ValueError as error:
        return error


def _strip(folder: Path) -> None:
    """Remove a pilot's text and weights; what it showed stays, and a folder without that goes."""
    for part in ("mix", "train"):
        shutil.rmtree(folder / part, ignore_errors=True)
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()


def _metrics(row: Mapping[str, float]) -> dict[str, float]:
    return {name: value for name, value in row.items() if name != "step"}


def run_pilots(
    home: Home, recipe: Recipe, *, wait: float = 0.0, progress: Progress | None = None, prefect: bool = True
) -> Piloted:
    """Run the pilots that a recipe's mixture needs, and fit it.

    Raises:
        Busy: another process holds the workspace for longer than the wait, in seconds.
    """
    from pipelines.edge.forget.work import finish_what_was_cut_off
    from pipelines.edge.orchestration import end_orphans
    from pipelines.edge.owners import end_dead_flow_runs, end_dead_mlflow_runs
    from pipelines.pilot import pilot

    with home.lock(wait):
        end_orphans()
        finish_what_was_cut_off(home)
        end_dead_mlflow_runs(home)
        end_dead_flow_runs(home)
        do = Pilots(home, recipe, prefect=prefect, progress=progress)
        try:
            return pilot(do)
        except BaseException as error:
            do.abandon("FAILED" if isinstance(error, Exception) else "KILLED")
            raise


def groups_of(piloted: Piloted, pilot: Pilot) -> dict[str, tuple[float, float]]:
    """Loss before and after a pilot, mean over the tasks of each role: `domain` and `general`."""
    found = {}
    for group, role in GROUPS.items():
        tasks = [task for task in pilot.losses if piloted.roles.get(task) == role]
        if tasks:
            before, after = (sum(pilot.losses[task][place] for task in tasks) / len(tasks) for place in (0, -1))
            found[group] = (before, after)
    return found
