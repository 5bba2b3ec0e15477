"""A version sent elsewhere: to the Hugging Face hub, or below any address that fsspec knows.

A version that was cut off on its way never looks whole: on the hub all files come in one commit, elsewhere
`perennial.json` is written last, after every file was read back and compared.
"""

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import Field, ValidationError

from pipelines.edge import card
from pipelines.edge.export import assemble
from pipelines.edge.registry import Registry
from steps.core.artifacts import Frozen
from steps.core.shards import digest_of_file, write_json

MANIFEST = "perennial.json"
HUB = re.compile(r"hf:([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)")
GIT = {".gitattributes"}  # every repository of the hub has it
CHUNK_BYTES = 1 << 20


class Sent(Frozen):
    """One file."""

    bytes: int
    sha256: str


class Manifest(Frozen):
    """What was pushed: the last file to be there."""

    line: str
    version: str
    digest: str = Field(description="of weights, tokenizer and configuration, as registered")
    files: dict[str, Sent]


class Pushed(Frozen):
    """What went, or would go."""

    address: str
    manifest: Manifest
    done: str = Field(description="pushed; there already; would be pushed")


def push(registry: Registry, number: str, address: str, *, dry_run: bool = False, public: bool = False) -> Pushed:
    """Push a version to `hf:OWNER/NAME` or below an address such as `s3://BUCKET/PREFIX`.

    Raises:
        ValueError: the address or the credentials will not do, or something else is there.
        OSError: the other side cannot be reached.
        RuntimeError: what arrived is not what was sent.
    """
    hub = HUB.fullmatch(address)
    if not hub:
        check_address(address)
    with _folder(registry, number) as folder:
        found = assemble(registry, number, folder)
        files = {name: Sent(bytes=size, sha256=digest_of_file(folder / name)) for name, size in found.files.items()}
        manifest = Manifest(line=registry.name, version=number, digest=found.digest, files=files)
        write_json(folder / MANIFEST, manifest.model_dump())
        if dry_run:
            return Pushed(address=address, manifest=manifest, done="would be pushed")
        done = to_hub(hub[1], folder, manifest, public=public) if hub else to_address(address, folder, manifest)
    return Pushed(address=address, manifest=manifest, done=done)


@contextmanager
def _folder(registry: Registry, number: str) -> Iterator[Path]:
    folder = registry.home.hidden / "staging" / f"push-{number}-{os.getpid()}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def check_address(address: str) -> None:
    """Refuse an address that is none, or that carries what belongs into the environment.

    Raises:
        ValueError: it is such.
    """
    parts = urlsplit(address)
    if not parts.scheme or "://" not in address or not (parts.netloc or parts.path.strip("/")):
        raise ValueError(
            f"push {address!r}: wanted hf:OWNER/NAME, or an address such as s3://BUCKET/PREFIX or file:///FOLDER"
        )
    if parts.username or parts.password or parts.query or parts.fragment or "::" in address:
        raise ValueError(
            f"push {parts.scheme}://…{parts.path}: wanted a plain address, without user, password, query, fragment or "
            "chain; credentials belong in the environment of its driver"
        )


def to_address(address: str, folder: Path, manifest: Manifest) -> str:
    """Write a folder below an address, every file read back and compared, the manifest last."""
    import fsspec  # type: ignore[import-untyped]

    try:
        store, root = fsspec.url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise ValueError(f"push {address}: {error}; install its driver or correct the address") from error
    with _told(address):
        there = _names(store, root)
        if MANIFEST in there:
            known = _manifest(store.cat_file(f"{root}/{MANIFEST}"))
            if known != manifest:
                what = f"version {known.version} of {known.line}" if known else "something else"
                raise ValueError(f"push {address}: {what} is there already; name another place, or remove it there")
            _compare(store, root, address, manifest)
            return "there already"
        if strange := sorted(there - manifest.files.keys()):
            raise ValueError(f"push {address}: {strange[0]} is there, which is not ours; name a place of its own")
        if "file" in store.protocol:
            store.makedirs(root, exist_ok=True)
        for name in in_order(manifest.files):
            store.put_file(str(folder / name), f"{root}/{name}")
        store.invalidate_cache()
        _compare(store, root, address, manifest)
        store.put_file(str(folder / MANIFEST), f"{root}/{MANIFEST}")
    return "pushed"


def in_order(files: Mapping[str, object]) -> list[str]:
    """Weights first, what makes a folder look like a model last, its card at the very end."""
    last = {"config.json": 2, card.NAME: 3}
    return sorted(files, key=lambda name: (last.get(name, 0 if name.endswith(".safetensors") else 1), name))


def _names(store: Any, root: str) -> set[str]:
    store.invalidate_cache()
    found = store.find(root) if store.exists(root) else []
    return {path.removeprefix(root).strip("/") for path in found}


def _manifest(text: bytes) -> Manifest | None:
    try:
        return Manifest.model_validate_json(text)
    except ValidationError:
        return None


def _compare(store: Any, root: str, address: str, manifest: Manifest) -> None:
    for name, sent in manifest.files.items():
        digest = hashlib.sha256()
        with store.open(f"{root}/{name}", "rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                digest.update(chunk)
        if digest.hexdigest() != sent.sha256:
            raise RuntimeError(f"push {address}: {name} arrived changed; nothing there is marked as whole: push again")


@contextmanager
def _told(address: str) -> Iterator[None]:
    """Say whose error it is: each driver has its own kinds."""
    try:
        yield
    except (ValueError, RuntimeError):
        raise
    except PermissionError as error:
        raise ValueError(
            f"push {address}: not allowed: {error}; its credentials come from the environment, for s3 for instance "
            "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
        ) from error
    except Exception as error:
        if "credential" in f"{type(error).__name__} {error}".lower():
            raise ValueError(
                f"push {address}: no credentials: {error}; they come from the environment, for s3 for instance "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            ) from error
        raise OSError(f"push {address}: {type(error).__name__}: {error}") from error


def to_hub(name: str, folder: Path, manifest: Manifest, *, public: bool = False) -> str:
    """Put a folder on the Hugging Face hub in one commit, which is compared with what was sent."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi
    from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError

    token = os.environ.get("HF_TOKEN", "").strip()
    if not token:
        raise ValueError(
            f"push hf:{name}: no token; put one that may write into the environment as HF_TOKEN (huggingface.co, "
            "Settings, Access Tokens)"
        )
    api = HfApi(token=token, endpoint=os.environ.get("HF_ENDPOINT") or None)
    try:
        try:
            there = set(api.list_repo_files(name))
        except RepositoryNotFoundError:
            api.create_repo(name, private=not public)
            there = set(api.list_repo_files(name))
        known = set(_known_on_hub(api, name, folder)) if MANIFEST in there else set()
        if strange := sorted(there - GIT - known - {MANIFEST}):
            raise ValueError(
                f"push hf:{name}: {strange[0]} is there, which perennial did not push; name a repository of its own"
            )
        wanted = [*in_order(manifest.files), MANIFEST]
        added = [CommitOperationAdd(path_in_repo=each, path_or_fileobj=str(folder / each)) for each in wanted]
        gone = [CommitOperationDelete(path_in_repo=each) for each in sorted((known & there) - set(wanted))]
        title = f"{manifest.line}, version {manifest.version}"
        commit = api.create_commit(name, [*added, *gone], commit_message=title)
        found = {each.path: each for each in api.get_paths_info(name, wanted, revision=commit.oid)}
    except (HfHubHTTPError, OSError) as error:
        said = str(error).replace(token, "…").strip().split("\n")[0]
        raise OSError(f"push hf:{name}: refused, or not reached ({type(error).__name__}): {said}") from None
    for each in wanted:
        if each not in found or not is_same(found[each], folder / each):
            raise RuntimeError(f"push hf:{name}: {each} arrived changed in commit {commit.oid}; push again")
    return "pushed"


def _known_on_hub(api: Any, name: str, folder: Path) -> list[str]:
    """The files of the version that was pushed there before."""
    place = folder.with_name(f"{folder.name}-there")
    try:
        path = Path(api.hf_hub_download(name, MANIFEST, local_dir=place))
        known = _manifest(path.read_bytes())
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return list(known.files) if known else []


def is_same(there: Any, here: Path) -> bool:
    """Whether a file of the hub is a file here: large ones by SHA-256, small ones by Git's own hash."""
    if getattr(there, "lfs", None):
        return bool(there.lfs.sha256 == digest_of_file(here))
    content = here.read_bytes()
    blob = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False)
    return bool(there.blob_id == blob.hexdigest())
