"""A version owns its training state: refreshes with the infinite schedule, a rollback, and a third one after it."""

import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from pipelines.edge.home import Home
from pipelines.edge.operations import reproduce, roll_back
from pipelines.edge.outcome import Outcome
from pipelines.edge.registry import STATE, WEIGHTS, Registry
from pipelines.edge.session import Inputs
from pipelines.recipe import Recipe
from pipelines.service.backup import backup
from steps.core.artifacts import Kept, Version
from steps.core.models import load_model
from steps.core.shards import read_lines
from steps.core.training import HeldOut
from steps.core.training_state import EMPTY, digest_of_state
from tests.workspaces import land_rows, rows, run, tiny, workspace

pytestmark = pytest.mark.pipeline
LENIENT = {"superiority": "not-required", "margin_nats": 5.0}
SCHEDULE = {"method": "infinite", "constant_ratio": 0.5}
CONSTANT = 2.5e-3  # half of the tiny recipe's peak


def recipe(**changes: Any) -> Recipe:
    return tiny(train={"schedule": SCHEDULE}, gate=LENIENT, **changes)


def told(home: Home) -> list[dict[str, Any]]:
    return list(read_lines(home.root / "data/train/history.jsonl"))


def inputs(home: Home) -> Inputs:
    return Inputs.model_validate_json((home.root / "data/inputs.json").read_text())


def loss_of(home: Home, state: Path) -> Mapping[str, float]:
    """What a plateau scores on the validation items of the refresh that was made last."""
    record = (home.root / "data/clean/record.json").read_text()
    validation = Kept.model_validate(json.loads(record)["artifact"]).holdout.validation
    held_out = HeldOut(home.root / validation.path, validation, state / "plateau", 16, 64)
    return held_out.losses(load_model(state / "plateau"))


def begun(home: Home) -> dict[str, float]:
    """The validation losses before the first step."""
    return {name: value for name, value in told(home)[0].items() if name.startswith("train/validation_")}


def state_of(home: Home, number: str) -> Path:
    return Registry(home).folder(number) / STATE


@pytest.fixture(scope="module")
def line(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, dict[str, Any]]:
    """Two refreshes, a rollback, a third refresh; what was seen on the way."""
    home = workspace(tmp_path_factory.mktemp("line"), documents=60)
    seen: dict[str, Any] = {"first": run(home, recipe()), "first told": told(home), "first inputs": inputs(home)}
    seen["linked"] = (home.root / "data/train/state/plateau/model.safetensors").stat().st_ino
    land_rows(home, "types", rows("types", 60, 30))
    seen |= {"second": run(home, recipe()), "second begun": begun(home), "second told": told(home)}
    seen |= {"second expected": loss_of(home, state_of(home, "1")), "second inputs": inputs(home)}
    roll_back(home, "for the test")
    land_rows(home, "statements", rows("statements", 60, 30))
    seen |= {"third": run(home, recipe()), "third begun": begun(home), "third told": told(home)}
    seen |= {"third expected": loss_of(home, state_of(home, "1")), "third inputs": inputs(home)}
    seen["third not"] = loss_of(home, state_of(home, "2"))
    return home, seen


def test_the_first_refresh_begins_with_nothing_and_warms_up(line: tuple[Home, dict[str, Any]]) -> None:
    _, seen = line
    assert seen["first inputs"].parent.training_state == EMPTY
    rates = [row["train/learning_rate"] for row in seen["first told"][1:]]
    assert rates[0] == pytest.approx(2 * CONSTANT)
    assert rates[2] == pytest.approx(CONSTANT)
    assert rates[-1] == pytest.approx(0.01 * 2 * CONSTANT)


def test_the_state_lies_once_on_the_disk_beside_the_weights(line: tuple[Home, dict[str, Any]]) -> None:
    home, seen = line
    assert (state_of(home, "1") / "plateau/model.safetensors").stat().st_ino == seen["linked"]
    version = Registry(home).version("1")
    assert version.training_state.path == state_of(home, "1").relative_to(home.root).as_posix()
    assert version.training_state.digest == digest_of_state(state_of(home, "1"))
    names = {path.suffix for path in state_of(home, "1").rglob("*") if path.is_file()}
    assert names == {".safetensors", ".json"}


@pytest.mark.parametrize("number", ["second", "third"])
def test_a_refresh_begins_at_its_parents_plateau_without_a_warm_up(
    line: tuple[Home, dict[str, Any]], number: str
) -> None:
    home, seen = line
    assert [seen[n].kind for n in ("first", "second", "third")] == ["accepted"] * 3
    assert (seen[number].parent, inputs_digest(seen, number)) == ("1", digest_of_state(state_of(home, "1")))
    assert seen[f"{number} begun"] == pytest.approx(seen[f"{number} expected"], rel=1e-6)
    assert seen[f"{number} told"][1]["train/learning_rate"] == pytest.approx(CONSTANT)


def inputs_digest(seen: Mapping[str, Any], number: str) -> str:
    parent: Version = seen[f"{number} inputs"].parent
    return parent.training_state.digest


def test_after_the_rollback_it_is_not_the_plateau_of_the_version_left_behind(
    line: tuple[Home, dict[str, Any]],
) -> None:
    _, seen = line
    assert seen["third begun"] != pytest.approx(seen["third not"], rel=1e-3)


def test_a_version_that_began_at_a_plateau_is_reproduced(line: tuple[Home, dict[str, Any]]) -> None:
    assert reproduce(line[0], "3").identical


def test_the_state_is_in_the_backup(line: tuple[Home, dict[str, Any]], tmp_path: Path) -> None:
    home, _ = line
    backup(home, tmp_path / "line.tar.gz")
    with tarfile.open(tmp_path / "line.tar.gz") as archive:
        names = set(archive.getnames())
    for number in ("1", "2", "3"):
        where = state_of(home, number).relative_to(home.root).as_posix()
        assert f"{where}/plateau/model.safetensors" in names


def test_a_damaged_state_stops_the_next_refresh_and_goes_with_the_weights(tmp_path: Path) -> None:
    home = workspace(tmp_path, documents=60)
    run(home, recipe())
    state, registry = state_of(home, "1"), Registry(home)
    file, weights = state / "plateau/model.safetensors", registry.folder("1") / WEIGHTS
    tensors = load_file(file)
    file.unlink()  # it is a hard link
    save_file({name: tensor + 1 for name, tensor in tensors.items()}, file, metadata={"format": "pt"})
    land_rows(home, "types", rows("types", 60, 30))
    with pytest.raises(ValueError, match=r"wanted a training state with digest \w{16}, found \w{16}"):
        run(home, recipe())
    size = sum(each.stat().st_size for part in (state, weights) for each in part.rglob("*") if each.is_file())
    assert registry.retire("1") == size
    assert not state.exists()


def test_a_rejected_refresh_leaves_no_state(tmp_path: Path) -> None:
    home = workspace(tmp_path, documents=60)
    outcome: Outcome = run(home, tiny(train={"schedule": SCHEDULE, "learning_rate": 1.0}))
    assert outcome.kind == "rejected", outcome.reasons
    assert (home.root / "data/train/state/plateau").is_dir()
    assert not state_of(home, "1").exists()
    assert Registry(home).version("1").training_state == EMPTY
