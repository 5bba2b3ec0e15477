"""The model registry: versions, aliases, and what belongs to a version (MLflow).

A version is one MLflow model version. Its folder holds the weights once, the tokenizer, the pyfunc description and
`version.json`: everything else that belongs to it, as digests. Only `champion` says what the line's state is.
"""

import os
import shutil
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from pipelines.edge import stored
from pipelines.edge.home import Home
from pipelines.edge.stored import local_folder
from steps.core.artifacts import Model, Version
from steps.core.shards import write_json

LOOPBACK = {"127.0.0.1", "localhost", "::1"}
WEIGHTS, STATE = stored.WEIGHTS, stored.STATE


def use_tracking(home: Home) -> str:
    """Point MLflow at `MLFLOW_TRACKING_URI`, or else at the workspace's own SQLite file; returns the address."""
    import mlflow

    address = os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{home.hidden / 'mlflow.db'}"
    home.hidden.mkdir(parents=True, exist_ok=True)
    if mlflow.get_tracking_uri() != address:
        named = "MLFLOW_TRACKING_URI" in os.environ
        mlflow.set_tracking_uri(address)
        if not named:  # MLflow puts it into the environment, where another workspace would take it for a user's choice
            os.environ.pop("MLFLOW_TRACKING_URI", None)
    return address


def experiment_id(home: Home) -> str:
    """The workspace's MLflow experiment, made at first use."""
    import mlflow

    address = use_tracking(home)
    found = mlflow.get_experiment_by_name(home.settings.name)
    if found:
        return str(found.experiment_id)
    place = (home.hidden / "mlflow").as_uri() if on_this_machine(address) else None
    return str(mlflow.create_experiment(home.settings.name, artifact_location=place))


def on_this_machine(address: str) -> bool:
    """Whether a tracking address is a file or a server here: then artifacts lie in the workspace, and weights once.

    A server that asks for a name is a team's, and keeps its own artifacts, even where a tunnel makes it look local.
    """
    parts = urlparse(address)
    if parts.scheme == "sqlite":
        return True
    asked = os.environ.get("MLFLOW_TRACKING_USERNAME")
    return not asked and parts.scheme in {"http", "https"} and parts.hostname in LOOPBACK


@dataclass(frozen=True)
class Registered:
    """One version as the registry lists it."""

    number: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...]
    model_id: str
    created: int

    @property
    def verdict(self) -> str:
        """accepted, rejected or undecided."""
        return self.tags.get("perennial.verdict", "")


class Registry:
    """The versions of one workspace's model line."""

    def __init__(self, home: Home) -> None:
        from mlflow import MlflowClient

        self.home = home
        use_tracking(home)
        self.name = home.settings.name
        self.client: Any = MlflowClient()

    def versions(self) -> list[Registered]:
        """All versions, newest first."""
        rows = self.client.search_model_versions(f"name = '{self.name}'", max_results=1000)
        aliases = self._aliases() if rows else {}
        return [
            Registered(
                str(row.version),
                row.tags,
                tuple(sorted(alias for alias, number in aliases.items() if number == str(row.version))),
                row.tags.get("perennial.model", ""),  # the search leaves `model_id` empty
                row.creation_timestamp,
            )
            for row in sorted(rows, key=lambda row: -int(row.version))
        ]

    def _aliases(self) -> dict[str, str]:
        return {alias: str(number) for alias, number in self.client.get_registered_model(self.name).aliases.items()}

    def champion(self) -> str | None:
        """The number of the accepted version that serves now."""
        found = self.client.search_registered_models(f"name = '{self.name}'")
        return self._aliases().get("champion") if found else None

    def get(self, number: str) -> Registered:
        """One version.

        Raises:
            ValueError: there is no such version; the message names those that exist.
        """
        everything = self.versions()
        for version in everything:
            if version.number == str(number):
                return version
        known = ", ".join(version.number for version in everything) or "none yet"
        raise ValueError(f"{self.name}: no version {number}; there are: {known}")

    def named(self, name: str) -> str:
        """The number of a version by its number or by an alias, such as `champion`.

        Raises:
            ValueError: there is no such version or alias.
        """
        if not name.isdigit():
            for version in self.versions():
                if name in version.aliases:
                    return version.number
        return self.get(name).number

    def folder(self, number: str) -> Path:
        """A version's folder on this machine: the registry's own where it is local, else a cached copy."""
        from mlflow.artifacts import download_artifacts

        model_id = self.get(number).model_id
        place = local_folder(self._address(model_id))
        if place is not None and place.resolve().is_relative_to(self.home.root):
            return place
        cached = self._cached(model_id)
        if not (cached / "version.json").exists():
            partial = cached.with_name(cached.name + ".partial")
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
            if place is None:
                download_artifacts(artifact_uri=f"models:/{model_id}", dst_path=str(partial))
            elif place.is_dir():  # of another workspace on this machine: its files stay there, and take no room here
                shutil.copytree(place, partial, dirs_exist_ok=True, copy_function=_linked)
            else:
                raise ValueError(f"version {number}: its folder {place} is not on this machine, or not mounted here")
            stored.check_whole(number, partial)
            shutil.rmtree(cached, ignore_errors=True)
            partial.rename(cached)
        return cached

    def logged(self, version: Registered, name: str) -> str | None:
        """A text file that a version's run logged; none: there is no such file."""
        run = version.tags.get("perennial.run")
        return stored.read_text(str(self.client.get_run(run).info.artifact_uri), name) if run else None

    def read_file(self, number: str, name: str) -> str | None:
        """A text file of a version's folder; none: there is no such file."""
        return stored.read_text(self._address(self.get(number).model_id), name)

    def write_file(self, number: str, name: str, text: str) -> None:
        """Put a text file into a version's folder, beside what belongs to it."""
        model_id = self.get(number).model_id
        stored.write_text(self._address(model_id), name, text)
        if self._cached(model_id).is_dir():
            (self._cached(model_id) / name).write_text(text, encoding="utf-8")

    def _address(self, model_id: str) -> str:
        return str(self.client.get_logged_model(model_id).artifact_location)

    def _cached(self, model_id: str) -> Path:
        return self.home.hidden / "models" / f"version-{model_id}"

    def version(self, number: str) -> Version:
        """A version with everything that belongs to it, its model's folder resolved.

        Raises:
            ValueError: there is no such version, or retention has removed its weights.
        """
        folder = self.folder(number)
        if not (folder / "version.json").exists():
            raise ValueError(f"version {number}: its weights were removed by retention; `perennial reproduce {number}`")
        stored = Version.model_validate_json((folder / "version.json").read_text(encoding="utf-8"))
        return self.in_place(stored, number, folder)

    def in_place(self, stored: Version, number: str, folder: Path) -> Version:
        """A stored version under its number, with the paths of this machine, its row of the matrix named after it."""
        weights = (folder / WEIGHTS).resolve()
        adapter = (folder / "adapter").resolve()
        at = {"path": weights.relative_to(self.home.root).as_posix(), "adapter": None}
        if adapter.exists():
            at["adapter"] = adapter.relative_to(self.home.root).as_posix()
        model = stored.model.model_copy(update=at)
        *before, last = stored.history.rows
        rows = (*before, last.model_copy(update={"version": number}))
        history = stored.history.model_copy(update={"rows": rows})
        references = tuple(self._placed(reference) for reference in stored.references)
        state = stored.training_state
        if state.path is not None:
            at_hand = (folder / STATE).resolve().relative_to(self.home.root).as_posix()
            state = state.model_copy(update={"path": at_hand})
        placed = {"name": number, "model": model, "history": history, "references": references}
        return stored.model_copy(update=placed | {"training_state": state})

    def _placed(self, model: Model) -> Model:
        """A model where it is now: a registered one in its version's folder, any other where it was."""
        for version in self.versions():
            if version.tags.get("perennial.weights") == model.digest and not version.tags.get("perennial.retired"):
                weights = (self.folder(version.number) / WEIGHTS).resolve()
                return model.model_copy(update={"path": weights.relative_to(self.home.root).as_posix()})
        return model

    def find(self, attempt: str) -> Registered | None:
        """The version that an attempt registered, if it got that far."""
        return next((v for v in self.versions() if v.tags.get("perennial.attempt") == attempt), None)

    def register(self, attempt: str, run_id: str, staging: Path, tags: Mapping[str, str]) -> str:
        """Move a finished folder into the registry as a new version; returns its number.

        The weights are moved, never copied, where the registry is a local folder. Called again after a crash it
        finds what it had made.
        """
        import mlflow

        found = self.find(attempt)
        if found:
            return found.number
        if not self.client.search_registered_models(f"name = '{self.name}'"):
            self.client.create_registered_model(self.name)
        made = self._logged_model(attempt, run_id)
        if str(made.status) != "READY":
            target = local_folder(made.artifact_location)
            if target is not None:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.rmtree(target, ignore_errors=True)
                staging.rename(target)
            else:
                self.client.log_model_artifacts(made.model_id, str(staging))
                shutil.rmtree(staging)
            mlflow.finalize_logged_model(made.model_id, "READY")
        row = self.client.create_model_version(
            self.name,
            f"models:/{made.model_id}",
            run_id=run_id,
            model_id=made.model_id,
            tags={**tags, "perennial.attempt": attempt, "perennial.model": made.model_id},
        )
        return str(row.version)

    def _logged_model(self, attempt: str, run_id: str) -> Any:
        import mlflow

        experiment = experiment_id(self.home)
        found = mlflow.search_logged_models(
            experiment_ids=[experiment],
            filter_string=f"tags.`perennial.attempt` = '{attempt}'",
            output_format="list",
        )
        if found:
            return found[0]
        return mlflow.initialize_logged_model(
            name=self.name,
            experiment_id=experiment,
            source_run_id=run_id,
            tags={"perennial.attempt": attempt},
            model_type="causal-lm",
        )

    def move(self, alias: str, number: str | None, why: str) -> None:
        """Move or remove an alias, and log who did it, when and why."""
        before = self._aliases().get(alias)
        if before == number:
            return
        if number is None:
            self.client.delete_registered_model_alias(self.name, alias)
        else:
            self.client.set_registered_model_alias(self.name, alias, number)
        self.home.record("alias", alias=alias, before=before, after=number, why=why)

    def tag(self, number: str, key: str, value: str) -> None:
        """Set a tag of a version."""
        self.client.set_model_version_tag(self.name, number, key, value)

    def retire(self, number: str) -> int:
        """Remove a version's weights and training state, keeping its record; returns the bytes freed."""
        model_id = self.get(number).model_id
        address = self._address(model_id)
        place = local_folder(address)
        freed = stored.empty_store(address) if place is None else stored.empty_folder(place)
        shutil.rmtree(self._cached(model_id), ignore_errors=True)
        self.tag(number, "perennial.retired", "true")
        return freed


def base_version(model: Model) -> Version:
    """The line before its first refresh: the base model, everything else empty."""
    from steps.core.artifacts import Buffer, History, HoldoutState, Index
    from steps.core.shards import digest_of
    from steps.core.training_state import EMPTY

    empty = digest_of([])
    return Version(
        digest=digest_of(["base", model.digest]),
        name="base",
        model=model,
        training_state=EMPTY,
        buffer=Buffer(digest=empty),
        index=Index(digest=empty),
        holdout=HoldoutState(digest=empty),
        history=History(digest=empty),
        references=(model,),
    )


def stage_folder(
    staging: Path, candidate: Path, adapter: Path | None, state: Path | None, version: Version, served: Path
) -> None:
    """Build the folder of a version: weights and training state by hard link, tokenizer, pyfunc, `version.json`."""
    import mlflow
    from mlflow.models import infer_signature

    shutil.rmtree(staging, ignore_errors=True)
    light = staging.with_name(staging.name + ".light")
    shutil.rmtree(light, ignore_errors=True)
    light.mkdir(parents=True)
    weights = sorted(candidate.glob("*.safetensors"))
    for file in sorted(candidate.iterdir()):
        if file not in weights:
            shutil.copyfile(file, light / file.name)
    import pandas

    frame = pandas.DataFrame({"prompt": ["The assert statement"]})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of type hints: the signature is given
        mlflow.pyfunc.save_model(
            path=str(staging),
            python_model=str(served),
            artifacts={"model": str(light)},
            signature=infer_signature(frame, ["The assert statement is"], params={"max_new_tokens": 32}),
            input_example=frame,
            pip_requirements=["torch", "transformers", "pandas", "mlflow"],
        )
    target = staging / "artifacts" / light.name
    if target != staging / WEIGHTS:
        target.rename(staging / WEIGHTS)
        description = staging / "MLmodel"
        text = description.read_text(encoding="utf-8").replace(f"artifacts/{light.name}", WEIGHTS)
        description.write_text(text.replace(str(light), WEIGHTS), encoding="utf-8")
    for file in weights:
        link(file, staging / WEIGHTS / file.name)
    if adapter:
        for file in sorted(adapter.iterdir()):
            (staging / "adapter").mkdir(exist_ok=True)
            link(file, staging / "adapter" / file.name)
    if state:
        for file in sorted(path for path in state.rglob("*") if path.is_file()):
            target = staging / STATE / file.relative_to(state)
            target.parent.mkdir(parents=True, exist_ok=True)
            link(file, target)
    write_json(staging / "version.json", version.model_dump(mode="json"))
    shutil.rmtree(light)


def _linked(source: str, target: str) -> None:
    link(Path(source), Path(target))


def link(source: Path, target: Path) -> None:
    """A hard link, or a copy where the file system has none."""
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
