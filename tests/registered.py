"""A registry with one version whose weights are real, for the tests of what goes out of it."""

import json
from pathlib import Path

from pipelines.edge.conclude import SERVED
from pipelines.edge.home import Home
from pipelines.edge.lineage import base_of
from pipelines.edge.registry import Registry, experiment_id, stage_folder
from steps.core.artifacts import History, MatrixRow, TrainingState
from steps.core.models import load_model
from steps.core.training_state import digest_of_state
from tests.tiny_models import tiny_model
from tests.workspaces import workspace

TEMPLATE = "{% for message in messages %}<|begin|>{{ message.content }}<|end|>{% endfor %}"


def registered(folder: Path) -> Registry:
    """A registry with one version: a chat model in several files, with things beside it that are not for others."""
    home = Home(folder)
    workspace(home.root, documents=2)
    made = tiny_model(home.root / "data/model")
    network = load_model(made)
    (made / "model.safetensors").unlink()
    network.save_pretrained(made, max_shard_size="100KB")
    (made / "chat_template.jinja").write_text(TEMPLATE)
    config = json.loads((made / "config.json").read_text())
    (made / "config.json").write_text(
        json.dumps({**config, "_name_or_path": "/home/me/model", "_model_name_or_path": "smol"})
    )
    (made / "notes.txt").write_text("mine")
    (made / "README.md").write_text("the card of the base")
    kept = tiny_model(home.root / "data/state/plateau").parent
    state = TrainingState(digest=digest_of_state(kept), path="data/state")
    base = base_of(home, "data/model")
    row = History(digest="h", rows=(MatrixRow(version="a", losses={}),))
    version = base.model_copy(update={"training_state": state, "history": row})
    stage_folder(home.hidden / "staging", made, None, kept, version, SERVED)
    registry = Registry(home)
    run = registry.client.create_run(experiment_id(home)).info.run_id
    tags = {"perennial.weights": version.model.digest, "perennial.run": run, "perennial.parent": "base"}
    registry.register("attempt", run, home.hidden / "staging", {**tags, "perennial.verdict": "accepted"})
    return registry
