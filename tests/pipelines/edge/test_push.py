"""A version sent elsewhere: whole or not to be taken for whole, compared, its credentials never told."""

import json
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from pipelines.edge.push import MANIFEST, in_order, push
from pipelines.edge.registry import Registry
from steps.core.models import digest_of_model
from tests.hub import Hub, hub
from tests.registered import registered


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Registry:
    return registered(tmp_path_factory.mktemp("line") / "w")


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    store = fsspec.filesystem("memory")
    store.store.clear()
    yield store
    store.store.clear()


@pytest.fixture
def local_hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.address)
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        yield server


def test_a_folder_below_an_address_is_a_whole_model_and_says_what_it_is(registry: Registry, tmp_path: Path) -> None:
    found = push(registry, "1", f"file://{tmp_path}/models/one")
    there = tmp_path / "models/one"
    assert {path.name for path in there.iterdir()} == {*found.manifest.files, MANIFEST}
    assert digest_of_model(there) == found.manifest.digest == registry.get("1").tags["perennial.weights"]
    assert json.loads((there / MANIFEST).read_text()) == found.manifest.model_dump()
    assert list((registry.home.hidden / "staging").glob("push-*")) == []


def test_pushed_again_it_is_compared_and_left_as_it_is(registry: Registry, memory: MemoryFileSystem) -> None:
    assert push(registry, "1", "memory://models/one").done == "pushed"
    assert push(registry, "1", "memory://models/one").done == "there already"
    memory.pipe_file("/models/one/README.md", b"another")
    with pytest.raises(RuntimeError, match=r"README\.md arrived changed"):
        push(registry, "1", "memory://models/one")


def test_a_push_that_was_cut_off_has_no_manifest_and_goes_on(
    registry: Registry, memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    put, sent = MemoryFileSystem.put_file, []

    def fails(self: MemoryFileSystem, local: str, remote: str, **more: object) -> None:
        if len(sent) == 3:
            raise ConnectionError("gone")
        sent.append(remote)
        put(self, local, remote, **more)

    with monkeypatch.context() as patched:
        patched.setattr(MemoryFileSystem, "put_file", fails)
        with pytest.raises(OSError, match="ConnectionError: gone"):
            push(registry, "1", "memory://models/one")
    assert not {"perennial.json", "config.json", "README.md"} & {path.rpartition("/")[2] for path in memory.find("/")}
    assert push(registry, "1", "memory://models/one").done == "pushed"


def test_what_makes_a_folder_look_whole_comes_last() -> None:
    files = dict.fromkeys(["README.md", "config.json", "b.safetensors", "tokenizer.json", "a.safetensors"])
    assert in_order(files) == ["a.safetensors", "b.safetensors", "tokenizer.json", "config.json", "README.md"]


@pytest.mark.parametrize(("name", "said"), [("notes.txt", "notes.txt is there"), (MANIFEST, "something else is there")])
def test_a_place_where_others_keep_things_is_left_alone(
    registry: Registry, memory: MemoryFileSystem, name: str, said: str
) -> None:
    memory.pipe_file(f"/models/one/{name}", b"theirs")
    with pytest.raises(ValueError, match=said):
        push(registry, "1", "memory://models/one")
    assert memory.find("/") == [f"/models/one/{name}"]


@pytest.mark.parametrize(
    "address", ["", "models/one", "hf:one", "hf:a/b/c", "s3://", "https://me:hunter2@host/x", "s3://b/x?y=1"]
)
def test_an_address_that_will_not_do_is_refused_before_anything_is_sent(registry: Registry, address: str) -> None:
    with pytest.raises(ValueError, match="wanted") as told:
        push(registry, "1", address)
    assert "hunter2" not in str(told.value)


def test_a_dry_run_reaches_nobody(
    registry: Registry, memory: MemoryFileSystem, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    found = push(registry, "1", "memory://models/one", dry_run=True)
    assert found.done == "would be pushed"
    assert memory.find("/") == []
    assert push(registry, "1", "hf:me/mine", dry_run=True).manifest == found.manifest


def test_the_hub_needs_a_token_out_of_the_environment(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with pytest.raises(ValueError, match=r"no token; .* HF_TOKEN"):
        push(registry, "1", "hf:me/mine")


def test_a_new_repository_is_private_and_gets_one_commit(registry: Registry, local_hub: Hub) -> None:
    found = push(registry, "1", "hf:me/mine")
    assert local_hub.private == {"me/mine": True}
    assert local_hub.commits == 1
    assert set(local_hub.repositories["me/mine"]) == {".gitattributes", MANIFEST, *found.manifest.files}
    assert local_hub.tokens == {"Bearer hf_secret"}


def test_a_newer_version_replaces_the_files_of_the_older(registry: Registry, local_hub: Hub) -> None:
    push(registry, "1", "hf:me/mine")
    there = local_hub.repositories["me/mine"]
    manifest = json.loads(there[MANIFEST])
    manifest["files"]["old.safetensors"] = {"bytes": 3, "sha256": ""}
    there |= {MANIFEST: json.dumps(manifest).encode(), "old.safetensors": b"old"}
    push(registry, "1", "hf:me/mine")
    assert "old.safetensors" not in there


def test_a_repository_of_others_is_left_alone(registry: Registry, local_hub: Hub) -> None:
    local_hub.repositories["me/theirs"] = {".gitattributes": b"", "pytorch_model.bin": b"theirs"}
    with pytest.raises(ValueError, match=r"pytorch_model\.bin is there, which perennial did not push"):
        push(registry, "1", "hf:me/theirs")
    assert local_hub.commits == 0


def test_a_refusal_of_the_hub_is_told_without_the_token(registry: Registry, local_hub: Hub) -> None:
    local_hub.refuses_commits = True
    with pytest.raises(OSError, match="refused, or not reached") as told:
        push(registry, "1", "hf:me/mine")
    assert "hf_secret" not in str(told.value)
    assert set(local_hub.repositories["me/mine"]) == {".gitattributes"}
