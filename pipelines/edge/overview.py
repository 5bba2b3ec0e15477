"""One long-lived MLflow run for a whole line: matrix and curves over all versions, and the model's description."""

import json
import logging
from datetime import datetime
from typing import Any

from pipelines.edge import plots
from pipelines.edge.home import Home
from pipelines.edge.line import Line, read_line
from pipelines.edge.registry import Registry, experiment_id
from pipelines.edge.reports import line_report
from pipelines.edge.tracking import NOTE, points, shortened

logger = logging.getLogger(__name__)
TAG = "perennial.line"
LOGGED = "cost/tokens"  # every version has it, so its steps say which versions are on the charts
TABLE = "matrix.json"


def publish(home: Home, registry: Registry) -> None:
    """Draw the line anew from the ledger. Whatever goes wrong with it is made good by the next refresh."""
    try:
        line = read_line(home.ledger())
        _publish(home, registry, line)
    except Exception as error:  # noqa: BLE001  a picture of what has happened, drawn in full each time
        logger.warning("the overview of %s could not be drawn (%r); the next refresh draws it", registry.name, error)


def _publish(home: Home, registry: Registry, line: Line) -> None:
    client, text = registry.client, line_report(registry.name, line)
    run = line_run(client, experiment_id(home), f"{registry.name} line")
    logged = {metric.step for metric in client.get_metric_history(run, LOGGED)}
    for point in line.points:
        if point.step not in logged:
            values = {f"loss_nats_per_token/{task}": loss for task, loss in point.losses.items()}
            values |= {f"transfer/{name.replace(' ', '_')}": value for name, value in point.transfer.items()}
            values |= {LOGGED: point.tokens, "cost/device_seconds": point.device_seconds}
            client.log_batch(run, metrics=points(values, point.step, _milliseconds(point.time)))
    client.log_figure(run, plots.line_matrix(line), "plots/matrix.png")
    client.log_figure(run, plots.curves(line), "plots/curves.png")
    client.log_figure(run, plots.learning(line), "plots/learning.png")
    client.log_dict(run, _table(line), TABLE)
    client.set_tag(run, "mlflow.loggedArtifacts", json.dumps([{"path": TABLE, "type": "table"}]))
    client.set_tag(run, NOTE, shortened(text))
    client.set_tag(run, "perennial.champion", line.champion)
    client.update_registered_model(registry.name, description=shortened(text))


def line_run(client: Any, experiment: str, name: str) -> str:
    """The id of the line's run, made at first use."""
    found = client.search_runs([experiment], filter_string=f"tags.`{TAG}` = 'true'", max_results=1)
    if found:
        return str(found[0].info.run_id)
    made = str(client.create_run(experiment, run_name=name, tags={TAG: "true"}).info.run_id)
    client.set_terminated(made, "FINISHED")  # nobody works on it between refreshes
    return made


def _milliseconds(time: str) -> int:
    return int(datetime.fromisoformat(time).timestamp() * 1000) if time else 0


def _table(line: Line) -> dict[str, Any]:
    """The matrix with all that belongs to a version, as MLflow's UI reads a table."""
    tasks = line.tasks
    names = list(dict.fromkeys(name for point in line.points for name in point.transfer))
    columns = ["version", "verdict", "from", "time", *tasks, *names, "tokens", "device seconds"]
    rows = [
        [
            point.version,
            "champion" if point.version == line.champion else point.verdict,
            point.parent,
            point.time,
            *(point.losses.get(task) for task in tasks),
            *(point.transfer.get(name) for name in names),
            point.tokens,
            point.device_seconds,
        ]
        for point in line.points
    ]
    return {"columns": columns, "data": rows}
