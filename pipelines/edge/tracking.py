"""MLflow: one run for each attempt with a child for each stage, found again after a crash; pages and descriptions."""

import contextlib
import logging
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from pipelines.edge.change_report import change_metrics
from pipelines.edge.home import Home
from pipelines.edge.registry import experiment_id
from steps.core.artifacts import (
    Buffer,
    Chosen,
    Corpus,
    Frozen,
    Gap,
    Holdout,
    Kept,
    MixturePlan,
    Report,
    Trained,
    TrainingSet,
    Verdict,
)
from steps.core.differences import Changes

logger = logging.getLogger(__name__)
FLUSH_SECONDS = 2.0
NOTE, PARENT, STAGE = "mlflow.note.content", "mlflow.parentRunId", "perennial.stage"
TRAINING_VIEW = "workflowType=machine_learning"  # the UI's other view, of language model applications, hides runs
NOTE_CHARACTERS = 5000  # what the registry's column for a description holds, on PostgreSQL


class Tracker:
    """The MLflow run of one attempt; after a crash the same run goes on, and so do its children."""

    def __init__(self, home: Home, attempt: str, title: str, tags: Mapping[str, str]) -> None:
        import mlflow

        self.experiment = experiment_id(home)
        found = mlflow.search_runs(
            [self.experiment],
            filter_string=f"tags.`perennial.attempt` = '{attempt}'",
            output_format="list",
            max_results=1,
        )
        if mlflow.active_run():  # left open by an error, in a process that runs many attempts
            with contextlib.suppress(mlflow.exceptions.MlflowException):  # it may be another workspace's
                mlflow.end_run("FAILED")
        mlflow.set_system_metrics_sampling_interval(5)
        run = mlflow.start_run(
            run_id=found[0].info.run_id if found else None,
            experiment_id=self.experiment,
            run_name=None if found else f"{title} · attempt {attempt[:8]}",
            tags={**tags, "perennial.attempt": attempt},
            log_system_metrics=True,
        )
        self.run_id = str(run.info.run_id)
        self.title, self.attempt = title, attempt
        self.client: Any = mlflow.MlflowClient()
        self._known = set(run.data.params)
        self._waiting: dict[str, list[Any]] = {}  # metrics by run
        self._flushed = time.monotonic()
        self._user = run.data.tags.get("mlflow.user", "")
        self._children: dict[str, str] = {}  # by stage, their ids
        self._finished: set[str] = set()
        self._open: str | None = None
        if found:
            self._find_children()

    def _find_children(self) -> None:
        ours = f"tags.`{PARENT}` = '{self.run_id}'"
        for child in self.client.search_runs([self.experiment], filter_string=ours, max_results=1000):
            key = child.data.tags.get(STAGE, "")
            self._children[key] = str(child.info.run_id)
            if child.info.status == "FINISHED":
                self._finished.add(key)

    @property
    def page(self) -> str | None:
        """Where a person looks at this run, if MLflow has a server."""
        return page(f"experiments/{self.experiment}/runs/{self.run_id}")

    def params(self, values: Mapping[str, Any]) -> None:
        """Log a nested mapping as flat parameters, once."""
        import mlflow

        flat = {key: str(value)[:500] for key, value in flatten(values).items() if key not in self._known}
        self._known.update(flat)
        if flat:
            mlflow.log_params(flat)

    def metrics(self, values: Mapping[str, float], step: int = 0, key: str | None = None) -> None:
        """Log metrics at a step, of this run or of the child of that key; sent in batches."""
        run = self.run_id if key is None else self._children[key]
        self._waiting.setdefault(run, []).extend(points(values, step))
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send the metrics that wait."""
        for run in list(self._waiting):
            waiting = self._waiting.pop(run)
            for start in range(0, len(waiting), 900):
                self.client.log_batch(run, metrics=waiting[start : start + 900])
        self._flushed = time.monotonic()

    def begin(self, key: str, title: str, section: Mapping[str, Any]) -> None:
        """A stage starts: its child run is made, with its section of the recipe, or goes on after a crash."""
        from mlflow.entities import Param

        stage = key.partition("/")[0]
        if key in self._children:
            self.client.update_run(self._children[key], status="RUNNING")
        else:
            tags = {PARENT: self.run_id, STAGE: key, "mlflow.user": self._user}
            self._children[key] = str(self.client.create_run(self.experiment, run_name=title, tags=tags).info.run_id)
            params = flatten(section, f"recipe.{stage}.")  # as the parent calls them: one column in a table of runs
            self.client.log_batch(self._children[key], params=[Param(k, str(v)[:500]) for k, v in params.items()])
        self._open = key

    def stage(self, key: str, artifact: Any, seconds: float | None) -> None:
        """Log what a stage made: its counts, and its bytes as a data set with its digest. No seconds: read back."""
        from mlflow.entities import RunTag

        stage, path = key.partition("/")[0], artifact_path(artifact)
        found = counts(stage, artifact)
        self.metrics(found)
        facts = {"perennial.made": "read back from its record" if seconds is None else "made"}
        facts["perennial.digest"] = artifact.digest
        if path is not None:
            import mlflow
            from mlflow.data.code_dataset_source import CodeDatasetSource
            from mlflow.data.meta_dataset import MetaDataset

            source = CodeDatasetSource(tags={"perennial.path": path})
            mlflow.log_input(MetaDataset(source, name=key, digest=artifact.digest[:32]), context=stage)
            facts["perennial.path"] = path
        self.flush()
        if self._open is not None:
            found |= scores(artifact) | ({} if seconds is None else {"seconds": round(seconds, 3)})
            tags = [RunTag(name, value) for name, value in facts.items()]
            self.client.log_batch(self._children[key], metrics=points(found), tags=tags)
            self.end_child("FINISHED")

    def finished(self, key: str) -> bool:
        """Whether an earlier process of this attempt made this stage and ended its child run."""
        return key in self._finished

    def figures(self, figures: Mapping[str, Any]) -> None:
        """Log plots as PNG files under `plots/`."""
        import mlflow

        for name, figure in figures.items():
            mlflow.log_figure(figure, f"plots/{name}.png")

    def files(self, paths: Mapping[str, Path]) -> None:
        """Log files under the names of folders."""
        import mlflow

        for folder, path in paths.items():
            if path.exists():
                mlflow.log_artifact(str(path), folder or None)

    def table(self, name: str, value: Any) -> None:
        """Log a JSON value as a file."""
        import mlflow

        mlflow.log_dict(value, name)

    def describe(self, text: str, result: str) -> None:
        """Give the run its description, in Markdown, and the result in its name; the whole text is also a file."""
        self.client.set_tag(self.run_id, NOTE, shortened(text))
        self.client.log_text(self.run_id, text, "report.md")
        self.client.update_run(self.run_id, name=f"{result} · {self.title} · attempt {self.attempt[:8]}")

    def end(self, status: str, tags: Mapping[str, str] | None = None) -> None:
        """End the run and the child that is open: FINISHED, FAILED or KILLED."""
        import mlflow

        self.end_child(status)
        self.flush()
        if mlflow.active_run() is None:
            return
        if tags:
            mlflow.set_tags(dict(tags))
        mlflow.end_run(status)

    def end_child(self, status: str) -> None:
        """End the child that is open, if one is."""
        key, self._open = self._open, None
        if key is not None:
            self.client.set_terminated(self._children[key], status)


def end_run(client: Any, run_id: str, status: str) -> None:
    """End a run whose process died, and the children that it left open."""
    experiment = client.get_run(run_id).info.experiment_id
    open_runs = f"tags.`{PARENT}` = '{run_id}' and attributes.status = 'RUNNING'"
    for child in client.search_runs([experiment], filter_string=open_runs, max_results=1000):
        client.set_terminated(child.info.run_id, status)
    client.set_terminated(run_id, status)


def page(place: str) -> str | None:
    """The address of a page of MLflow's UI, in its view of training; none where MLflow has no server."""
    address = urlsplit(os.environ.get("PERENNIAL_MLFLOW_UI") or os.environ.get("MLFLOW_TRACKING_URI", ""))
    if address.scheme not in {"http", "https"}:
        return None
    server = address.netloc.rsplit("@", 1)[-1]  # never a password
    return urlunsplit((address.scheme, server, address.path.rstrip("/") + "/", "", f"/{place}?{TRAINING_VIEW}"))


def shortened(text: str, whole: str = "report.md") -> str:
    """A description as long as MLflow's database takes it, cut between two lines."""
    if len(text) <= NOTE_CHARACTERS:
        return text
    rest = f"\n\n… the rest is in {whole}"
    return text[: NOTE_CHARACTERS - len(rest)].rsplit("\n", 1)[0] + rest


def points(values: Mapping[str, float], step: int = 0, time_ms: int | None = None) -> list[Any]:
    """Values as MLflow's metrics, at a step."""
    from mlflow.entities import Metric

    now = int(time.time() * 1000) if time_ms is None else time_ms
    return [Metric(key, float(value), now, step) for key, value in values.items()]


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """A nested mapping as one of dotted names."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def counts(stage: str, artifact: Any) -> dict[str, float]:
    """The numbers of an artifact that belong on a chart."""
    found: dict[str, Any] = {}
    match artifact:
        case Corpus():
            name = artifact.task.name
            found = {
                f"landed_{name}": artifact.num_landed,
                f"documents_{name}": artifact.num_documents,
                f"quarantined_{name}": sum(artifact.quarantined.values()),
            }
        case Holdout():
            found = {f"held_out_{task}": n for task, n in artifact.held_out.items()}
        case Kept():
            found = {f"kept_{task}": n for task, n in artifact.kept.items()}
            found |= {f"dropped_{task}": sum(reasons.values()) for task, reasons in artifact.dropped.items()}
            found |= {f"superseded_{task}": n for task, n in artifact.superseded.items()}
        case Chosen():
            found = {f"tokens_{task}": n for task, n in artifact.num_tokens.items()}
            found |= {f"chosen_{task}": n for task, n in artifact.num_documents.items()}
            found |= {f"left_{task}": artifact.left.get(task, 0) for task in artifact.num_documents}
        case MixturePlan():
            found = {f"planned_{_source(source)}": n for source, n in artifact.tokens.items()}
            for number, part in enumerate(artifact.stages, 1):
                found |= {f"planned_stage_{number}_{_source(source)}": n for source, n in part.items()}
            found["replay_share"] = artifact.replay_share
        case TrainingSet():
            found = {f"planned_{_source(source)}": n for source, n in artifact.planned.items()}
            found |= {f"achieved_{_source(source)}": n for source, n in artifact.achieved.items()}
        case Trained():
            found = {"steps": artifact.num_steps}
            found |= {f"achieved_{_source(source)}": n for source, n in artifact.achieved.items()}
            found |= _gaps(artifact.gap)
        case Changes():
            found = change_metrics(artifact)
        case Buffer():
            found = {f"tokens_{task}": n for task, n in artifact.num_tokens.items()}
        case Report():
            return {}  # logged by conclude, where it is known which model is which
        case Verdict():
            found = dict(artifact.transfer)
            champions = [c for c in artifact.comparisons if c.against == "champion" and c.kind == "non-inferiority"]
            found |= {f"change_{c.unit}_{c.task}": c.change for c in champions}
    return {f"{stage}/{key}": float(value) for key, value in found.items()}


def _gaps(found: Mapping[str, Gap]) -> dict[str, Any]:
    """The stability gap of every task; no recovery where the task never came back."""
    measures: dict[str, dict[str, float]] = {
        "depth": {task: gap.depth_nats for task, gap in found.items()},
        "worst_step": {task: gap.worst_step for task, gap in found.items()},
        "recovery": {task: gap.recovery_steps for task, gap in found.items() if gap.recovery_steps is not None},
        "area": {task: gap.area_nats for task, gap in found.items()},
    }
    return {f"gap_{name}_{task}": value for name, values in measures.items() for task, value in values.items()}


def scores(artifact: Any) -> dict[str, float]:
    """The losses of a report and the scores of its suites, for the child run that belongs to one model."""
    if not isinstance(artifact, Report):
        return {}
    losses = {f"evaluate/loss_{task}": score.loss_nats_per_token for task, score in artifact.anchor.items()}
    return losses | {f"evaluate/suite_{_source(name)}": suite.score for name, suite in artifact.suites.items()}


def _source(name: str) -> str:
    return name.replace("/", "_")


def artifact_path(artifact: Frozen) -> str | None:
    """The folder of an artifact that is data, else nothing."""
    return artifact.path if isinstance(artifact, Corpus | Holdout | Kept | Chosen | TrainingSet | Report) else None
