"""DVC: the bytes of each task's landings and of every data stage."""

import contextlib
import hashlib
import io
import json
import logging
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def repository(root: Path) -> Iterator[Any]:
    """The workspace's DVC repository, made at first use, its chatter silenced."""
    logging.getLogger("dvc").setLevel(logging.ERROR)
    from dvc.repo import Repo

    logging.getLogger("dvc").setLevel(logging.ERROR)  # again: its import set it
    root = root.resolve()
    with contextlib.redirect_stdout(io.StringIO()):  # it tells of Git commands to type
        if not (root / ".dvc").is_dir():
            in_git = _top_of_git(root)
            Repo.init(str(root), no_scm=in_git is None, subdir=in_git not in {None, root}).close()
            _configure(root)
        _ignore(root)
        _clear_stale_lock(root)
        with contextlib.closing(Repo(str(root))) as repo:
            yield repo


def _top_of_git(root: Path) -> Path | None:
    return next((place for place in (root, *root.parents) if (place / ".git").exists()), None)


def _configure(root: Path) -> None:
    (root / ".dvc" / "config").write_text(
        "[core]\n    analytics = false\n    check_update = false\n    remote = local\n"
        + ("" if _top_of_git(root) else "    no_scm = true\n")
        + "['remote \"local\"']\n    url = ../.perennial/dvc-remote\n",
        encoding="utf-8",
    )


def _ignore(root: Path) -> None:
    """Keep DVC out of `.perennial/`: the artifacts of old runs hold copies of `dvc.yaml`."""
    file = root / ".dvcignore"
    if not file.exists() or ".perennial/" not in file.read_text(encoding="utf-8").split():
        with file.open("a", encoding="utf-8") as lines:
            lines.write(".perennial/\n")


def _clear_stale_lock(root: Path) -> None:
    """Drop the locks of processes that died: DVC leaves them behind and then refuses to work."""
    path = root / ".dvc" / "tmp" / "rwlock"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, json.JSONDecodeError):
        return
    holders = [holder for entry in content.values() for holder in _holders(entry)]
    if holders and not any(_alive(int(holder["pid"])) for holder in holders):
        logger.info("removed the DVC lock of a process that died: %s", path)
        path.unlink()


def _holders(entry: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for value in entry.values():
        found.extend(value if isinstance(value, list) else [value])
    return found


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def add_landings(root: Path, tasks: list[str]) -> dict[str, str]:
    """Put each task's landings under DVC; returns the hash of each, by task."""
    hashes = {}
    with repository(root) as repo:
        for task in tasks:
            folder = root / "data" / "landing" / task
            folder.mkdir(parents=True, exist_ok=True)
            stage = repo.add([str(folder)])[0]
            hashes[task] = str(stage.outs[0].hash_info.value)
    return hashes


def commit_stages(root: Path) -> None:
    """Write what the stages of `dvc.yaml` made into `dvc.lock` and push everything to the default remote.

    A remote that cannot be reached stops nothing: the bytes are here, and `push_pending` sends them later.
    """
    with repository(root) as repo:
        if (root / "dvc.yaml").exists():
            repo.commit(force=True)
        push(root, repo)


def push_pending(root: Path) -> bool:
    """Push what an earlier push could not; returns whether nothing is left to push."""
    if not _pending(root).exists():
        return True
    with repository(root) as repo:
        return push(root, repo)


def push_waits(root: Path) -> bool:
    """Whether something could not be pushed yet."""
    return _pending(root).exists()


def _pending(root: Path) -> Path:
    return root / ".perennial" / "push-pending"


def push(root: Path, repo: Any) -> bool:
    """Push everything to the default remote, if it can be reached; returns whether nothing is left to push."""
    if not repo.config["core"].get("remote"):
        return True
    pointers = [str(path) for path in sorted((root / "data" / "landing").glob("*.dvc"))]
    try:
        repo.push()
        if pointers:  # by name: in a Git repository DVC takes the folder for ignored, and passes over them
            repo.push(targets=pointers)
    except Exception as error:  # noqa: BLE001 (every kind of remote raises errors of its own)
        logger.warning("the DVC remote could not be reached, its push waits: %s: %s", type(error).__name__, error)
        _pending(root).parent.mkdir(parents=True, exist_ok=True)
        _pending(root).touch()
        return False
    _pending(root).unlink(missing_ok=True)
    return True


def fetch_landing(root: Path, task: str) -> None:
    """Bring a task's landings back from the remote, as its pointer in the workspace names them."""
    with repository(root) as repo:
        repo.pull(targets=[str(root / "data" / "landing" / f"{task}.dvc")])


class Wanted(NamedTuple):
    """Files of a folder that DVC keeps."""

    md5: str  # the folder's, `….dir`
    below: str  # only what lies below this path in it; empty: all
    target: Path


def bring(root: Path, wanted: Sequence[Wanted]) -> None:
    """Bring folders by DVC's hash, out of its cache here or else from the default remote; what is there stays.

    Raises:
        ValueError: the remote lacks them, or cannot be reached.
    """
    from dvc_data.hashfile import load
    from dvc_data.hashfile.hash_info import HashInfo

    advice = "name the one that the line pushed to: dvc remote add --default --force NAME ADDRESS"
    with repository(root) as repo:
        try:
            failed = repo.cloud.pull([HashInfo("md5", each.md5) for each in wanted]).failed
            found = [(each.target, _inside(load(repo.cache.local, HashInfo("md5", each.md5)), each)) for each in wanted]
            hashes = {HashInfo("md5", md5) for _, files in found for md5 in files.values()}
            failed |= repo.cloud.pull(hashes).failed
        except Exception as error:  # every kind of remote raises errors of its own
            said = f"{type(error).__name__}: {error}"
            raise ValueError(f"{root}: the DVC remote ({_remote(repo)}) gives nothing ({said}); {advice}") from error
        if failed:
            raise ValueError(f"{root}: the DVC remote ({_remote(repo)}) lacks {len(failed):,} objects; {advice}")
        for target, files in found:
            for name in sorted(files, key=lambda name: (name.endswith("manifest.json"), name)):  # a manifest comes last
                _place(Path(repo.cache.local.oid_to_path(files[name])), files[name], target / name)


def _inside(tree: Any, wanted: Wanted) -> dict[str, str]:
    """The files wanted of a folder: hash by name."""
    inside = f"{wanted.below}/" if wanted.below else ""
    names = {"/".join(key): str(found.value) for key, _, found in tree}
    return {name.removeprefix(inside): md5 for name, md5 in names.items() if name.startswith(inside)}


def _remote(repo: Any) -> str:
    name = repo.config["core"].get("remote")
    return f"{name}: {repo.config['remote'].get(name, {}).get('url', 'no address')}" if name else "none is named"


def _place(cached: Path, md5: str, target: Path) -> None:
    """Copy a cached file into its place, checked."""
    if target.exists():
        return
    with cached.open("rb") as file:
        found = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    if found != md5:
        raise ValueError(f"{cached}: a file of DVC's cache is not what its name says; remove it, and try again")
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.partial")
    shutil.copyfile(cached, partial)
    partial.rename(target)
