"""A line of two versions that nobody trained: their records, runs and state are there, their weights are a word."""

import contextlib
import tempfile
from pathlib import Path
from typing import Any

import mlflow

from pipelines.edge import versioning
from pipelines.edge.home import Home
from pipelines.edge.lineage import write_used
from pipelines.edge.registry import Registry, experiment_id
from pipelines.edge.session import Inputs, unconsumed
from steps.core.artifacts import Buffer, History, HoldoutState, Index, MatrixRow, Model, Segment, TrainingState, Version
from steps.core.documents import content_hash
from steps.core.index import IndexRow, write_index
from steps.core.shards import digest_of, write_json, write_lines
from steps.core.state import digest_of_folder, digest_of_segments
from tests.workspaces import land_rows, tiny, workspace

KEY, TEXT = "letters/ana", "Ana wrote that the yellow house by the mill was never hers to sell, and never will be."
OTHER = {"key": "letters/bo", "text": "Bo wrote about the weather, which was as it always is in the north in autumn."}


def line(folder: Path, *, used: bool = True) -> Home:
    """A workspace with a document that landed, is in the buffer, and was trained on by its first version."""
    home = workspace(folder, documents=2)
    land_rows(home, "types", [{"key": KEY, "text": TEXT}, OTHER])
    (home.hidden / "outbox" / "types.jsonl").unlink()
    landed = unconsumed(home, {})
    state = [_buffer(home), _index(home), _holdout(home)]
    model = Model(digest="base", path="p", num_parameters=1)
    empty = digest_of([])
    parent = Version(
        digest=digest_of(["base", "base"]),
        name="base",
        model=model,
        training_state=TrainingState(digest=empty),
        buffer=Buffer(digest=empty),
        index=Index(digest=empty),
        holdout=HoldoutState(digest=empty),
        history=History(digest=empty, rows=(MatrixRow(version="base", losses={}),)),
        references=(model,),
    )
    for number in ("1", "2"):
        inputs = Inputs(
            attempt=number,
            parent=parent,
            landed=landed if number == "1" else {},
            recipe=tiny().dump(),
            written=tiny(),
            code={},
        )
        buffer, index, holdout = ((segment,) for segment in state)
        parent = parent.model_copy(
            update={
                "name": number,
                "buffer": Buffer(segments=buffer, digest=digest_of_segments(buffer), num_tokens={"types": 30}),
                "index": Index(segments=index, digest=digest_of_segments(index)),
                "holdout": HoldoutState(segments=holdout, digest=digest_of_segments(holdout)),
                "consumed": {task: tuple(batch.name for batch in part.batches) for task, part in landed.items()},
            }
        )
        parts = [parent.model, parent.buffer, parent.index, parent.holdout]
        identity = [inputs.parent.digest, *(part.digest for part in parts), parent.consumed]
        parent = parent.model_copy(update={"digest": digest_of(identity)})
        _register(home, number, inputs, parent, [KEY] if used and number == "1" else [] if used else None)
    write_json(home.root / "data/inputs.json", inputs.model_dump(mode="json"))
    (home.root / "dvc.yaml").unlink()  # its stages were never made
    versioning.add_landings(home.root, ["types", "general"])
    versioning.commit_stages(home.root)
    return home


def _segment(home: Home, made: Path) -> Segment:
    digest = digest_of_folder(made)
    place = home.root / "data/state" / digest[:32]
    made.rename(place)
    return Segment(digest=digest, path=place.relative_to(home.root).as_posix())


def document(key: str, text: str) -> dict[str, Any]:
    """A document as segments hold it."""
    facts = {"task": "types", "source": "s", "language": "en", "time": "", "licence": "", "batch": "b"}
    return {"key": key, "text": text, "content_hash": content_hash(text), **facts, "num_tokens": len(text.split())}


def _buffer(home: Home) -> Segment:
    made = home.root / "data/state/made"
    write_lines(made / "added.jsonl", [document(KEY, TEXT), document(OTHER["key"], OTHER["text"])])
    write_json(made / "segment.json", {"counts": {}})
    return _segment(home, made)


def _index(home: Home) -> Segment:
    made = home.root / "data/state/made"
    rows = [IndexRow(key, "types", content_hash(text)) for key, text in ((KEY, TEXT), tuple(OTHER.values()))]
    write_index(made, rows, None, "")
    return _segment(home, made)


def _holdout(home: Home) -> Segment:
    made = home.root / "data/state/made"
    item = {"id": "0" * 16, "task": "types", "document": "letters/cy", "text": "another"}
    write_lines(made / "types/anchor.jsonl", [item])
    return _segment(home, made)


def _register(home: Home, number: str, inputs: Inputs, version: Version, used: list[str] | None) -> None:
    registry = Registry(home)
    sample = " ".join(TEXT.split()[:12])
    if mlflow.active_run():  # left open by a test before, in another store
        with contextlib.suppress(mlflow.exceptions.MlflowException):
            mlflow.end_run()
    with mlflow.start_run(experiment_id=experiment_id(home)) as run, tempfile.TemporaryDirectory() as folder:
        here = Path(folder)
        write_json(here / "inputs.json", inputs.model_dump(mode="json"))
        rows = [{"key": key, "content_hash": content_hash(TEXT), "source": "new/types"} for key in used or []]
        write_lines(here / "used.jsonl", rows)
        mlflow.log_artifact(str(here / "inputs.json"), "lineage")
        if used is not None:
            mlflow.log_artifact(str(write_used(here, here)), "lineage")
        mlflow.log_dict({"samples": {"types": sample}}, "outcome.json")
        mlflow.log_text(f"<html><body><p>one</p><p>{TEXT}</p></body></html>", "clean/clean.html")
        mlflow.set_tag("mlflow.note.content", f"# Refresh\n{sample}")
    staging = home.hidden / "staging" / number
    write_json(staging / "version.json", version.model_dump(mode="json"))
    (staging / "artifacts/model").mkdir(parents=True)
    (staging / "artifacts/model/model.safetensors").write_bytes(b"weights")
    tags = {"perennial.parent": inputs.parent.name, "perennial.run": run.info.run_id, "perennial.verdict": "accepted"}
    registry.register(number, run.info.run_id, staging, {**tags, "perennial.weights": f"w{number}"})
    registry.client.update_model_version(registry.name, number, description=f"it wrote: {sample}")
    registry.move("champion", number, "the tests say so")
    home.record("sampled", attempt=number, outcome={"samples": {"types": [sample, ""]}})


def shown(home: Home, *words: str) -> list[str]:
    """The files of a workspace in which words can be read."""
    files = (path for path in home.root.rglob("*") if path.is_file())
    return [path.as_posix() for path in files if any(word.encode() in path.read_bytes() for word in words)]
