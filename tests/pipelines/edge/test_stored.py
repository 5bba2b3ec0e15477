"""Where a version's files are kept: what comes from there is whole, and what is retired keeps its record."""

import shutil
from pathlib import Path

import pytest
import torch

from pipelines.edge.registry import base_version
from pipelines.edge.stored import STATE, WEIGHTS, check_whole, empty_folder, empty_store, local_folder
from steps.core.artifacts import Model, TrainingState
from steps.core.models import digest_of_model
from steps.core.shards import write_json
from steps.core.training_state import digest_of_state, write_kept
from tests.tiny_models import tiny_model


def version_folder(place: Path) -> Path:
    digest = digest_of_model(tiny_model(place / WEIGHTS))
    tiny_model(place / STATE / "plateau", seed=1)
    write_kept(place / STATE, {"params-half.safetensors": {"kept": torch.arange(3.0)}})
    state = TrainingState(digest=digest_of_state(place / STATE), path="data/train/state")
    version = base_version(Model(digest=digest, path="m", num_parameters=1)).model_copy(
        update={"training_state": state}
    )
    write_json(place / "version.json", version.model_dump(mode="json"))
    return place


@pytest.mark.parametrize(
    ("address", "folder"),
    [
        ("file:///a/b%20c", Path("/a/b c")),
        ("/a/b", Path("/a/b")),
        ("mlflow-artifacts:/1/models/m-1/artifacts", None),
        ("s3://bucket/models", None),
        ("file://elsewhere/a", None),
    ],
)
def test_only_a_folder_of_this_machine_is_used_in_place(address: str, folder: Path | None) -> None:
    assert local_folder(address) == folder


def test_weights_that_came_whole_are_taken(tmp_path: Path) -> None:
    check_whole("1", version_folder(tmp_path))


@pytest.mark.parametrize(("part", "what"), [(WEIGHTS, "weights"), (f"{STATE}/plateau", "training state")])
def test_one_flipped_byte_on_the_way_is_noticed(tmp_path: Path, part: str, what: str) -> None:
    weights = next((version_folder(tmp_path) / part).glob("*.safetensors"))
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(RuntimeError, match=rf"version 7: its {what} should have the digest \w{{16}}"):
        check_whole("7", tmp_path)


def test_a_training_state_that_was_left_out_on_the_way_is_noticed(tmp_path: Path) -> None:
    shutil.rmtree(version_folder(tmp_path) / STATE)
    with pytest.raises(RuntimeError, match=r"its training state .* gave has no such folder"):
        check_whole("7", tmp_path)


def test_a_retired_version_has_no_weights_to_check(tmp_path: Path) -> None:
    empty_folder(version_folder(tmp_path))
    check_whole("1", tmp_path)


@pytest.mark.parametrize("empty", [empty_folder, lambda place: empty_store(place.as_uri())], ids=["folder", "store"])
def test_what_is_retired_keeps_its_record_and_frees_its_weights_once(tmp_path: Path, empty: object) -> None:
    place = version_folder(tmp_path)
    size = sum(file.stat().st_size for file in (place / WEIGHTS).iterdir())
    record = (place / "version.json").read_bytes()
    size += sum(file.stat().st_size for file in (place / STATE).rglob("*") if file.is_file())
    assert callable(empty)
    assert empty(place) == size
    assert [file.name for file in place.iterdir() if file.is_file()] == ["retired.json"]
    assert (place / "retired.json").read_bytes() == record
    assert not (place / WEIGHTS).exists()
    assert not (place / STATE).exists()
    assert empty(place) == 0
