"""One MLflow run for each attempt: parameters, metrics over steps, data sets, plots, files."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipelines.edge.home import Home
from pipelines.edge.registry import experiment_id
from steps.core.artifacts import Chosen, Corpus, Frozen, Holdout, Kept, Report, TrainingSet, Verdict

FLUSH_SECONDS = 2.0


class Tracker:
    """The MLflow run of one attempt; after a crash the same run goes on."""

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
            mlflow.end_run("FAILED")
        mlflow.set_system_metrics_sampling_interval(5)
        run = mlflow.start_run(
            run_id=found[0].info.run_id if found else None,
            experiment_id=self.experiment,
            run_name=None if found else title,
            tags={**tags, "perennial.attempt": attempt},
            log_system_metrics=True,
        )
        self.run_id = str(run.info.run_id)
        self.client: Any = mlflow.MlflowClient()
        self._known = set(run.data.params)
        self._waiting: list[Any] = []
        self._flushed = time.monotonic()

    def params(self, values: Mapping[str, Any]) -> None:
        """Log a nested mapping as flat parameters, once."""
        import mlflow

        flat = {key: str(value)[:500] for key, value in flatten(values).items() if key not in self._known}
        self._known.update(flat)
        if flat:
            mlflow.log_params(flat)

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Log metrics at a step; sent in batches."""
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        self._waiting += [Metric(key, float(value), now, step) for key, value in values.items()]
        if time.monotonic() - self._flushed > FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send the metrics that wait."""
        while self._waiting:
            self.client.log_batch(self.run_id, metrics=self._waiting[:900])
            self._waiting = self._waiting[900:]
        self._flushed = time.monotonic()

    def stage(self, stage: str, name: str, path: str | None, digest: str, artifact: Any) -> None:
        """Log what a stage made: its counts as metrics, its bytes as a data set with its digest."""
        self.metrics(counts(stage, artifact))
        if path is not None:
            import mlflow
            from mlflow.data.code_dataset_source import CodeDatasetSource
            from mlflow.data.meta_dataset import MetaDataset

            source = CodeDatasetSource(tags={"perennial.path": path})
            mlflow.log_input(MetaDataset(source, name=name, digest=digest[:32]), context=stage)
        self.flush()

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

    def end(self, status: str, tags: Mapping[str, str] | None = None) -> None:
        """End the run: FINISHED, FAILED or KILLED."""
        import mlflow

        self.flush()
        if mlflow.active_run() is None:
            return
        if tags:
            mlflow.set_tags(dict(tags))
        mlflow.end_run(status)


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
        case TrainingSet():
            found = {f"planned_{_source(source)}": n for source, n in artifact.planned.items()}
            found |= {f"achieved_{_source(source)}": n for source, n in artifact.achieved.items()}
        case Report():
            return {}  # logged by conclude, where it is known which model is which
        case Verdict():
            found = dict(artifact.transfer)
            found |= {f"change_nats_{c.task}": c.change_nats for c in artifact.comparisons if c.against == "champion"}
    return {f"{stage}/{key}": float(value) for key, value in found.items()}


def _source(name: str) -> str:
    return name.replace("/", "_")


def artifact_path(artifact: Frozen) -> str | None:
    """The folder of an artifact that is data, else nothing."""
    return artifact.path if isinstance(artifact, Corpus | Holdout | Kept | Chosen | TrainingSet | Report) else None
