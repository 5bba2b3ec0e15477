"""What lies elsewhere: files below an fsspec address, rows of a data set on the Hugging Face hub.

These two sources of `perennial land` use the network; credentials come from the environment of their drivers.
"""

import re
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from steps.core.shards import digest_of
from steps.methods.reader._rows import COLUMNS

HUB = re.compile(
    r"(?P<name>[\w.-]+(?:/[\w.-]+)?)(?::(?P<config>[\w.-]+))?(?::(?P<split>[\w.-]+))?(?:@(?P<revision>[\w./-]+))?"
)


def fetch_files(address: str, folder: Path) -> int:
    """Copy the files at or below an address, each under host or bucket and path; returns their number.

    Raises:
        ValueError: the address is none that can be read as it stands, or nothing is there.
        OSError: a file cannot be fetched.
    """
    import fsspec  # type: ignore[import-untyped]

    parts = urlsplit(address)
    shown = f"{parts.scheme}://…{parts.path}"
    if parts.username or parts.password or parts.query or parts.fragment or "::" in address:
        raise ValueError(
            f"--from {shown}: wanted a plain address, without user, password, query, fragment or chain; "
            "credentials belong in the environment of its driver"
        )
    if parts.scheme in {"file", "local"}:
        raise ValueError(
            f"--from {address}: a path of this machine; give it as a file: perennial land TASK {parts.path}"
        )
    try:
        files, root = fsspec.url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise ValueError(f"--from {address}: {error}; install its driver or correct the address") from error
    try:
        found = _below(files, root, parts.scheme)
        for path in found:
            target = folder.joinpath(*_inside(path))
            target.parent.mkdir(parents=True, exist_ok=True)
            files.get_file(path, str(target))
    except FileNotFoundError as error:
        raise ValueError(f"--from {address}: nothing is there; correct the address") from error
    except (ValueError, OSError):
        raise
    except Exception as error:
        raise OSError(f"--from {address}: {type(error).__name__}: {error}") from error  # each driver has its own
    return len(found)


def _below(files: Any, root: str, scheme: str) -> list[str]:
    if scheme in {"http", "https"}:  # a page's links are no folder: its files cannot be told from them
        return [root]
    found = [path for path in files.glob(root) if files.isfile(path)] if "*" in root else files.find(root)
    if not found:
        raise FileNotFoundError(root)
    return sorted(found)


def _inside(path: str) -> list[str]:
    """The parts of the name under which a remote file lands."""
    name = unquote(re.sub(r"^[a-z0-9+]+://", "", path)).strip("/")
    parts = [part for part in name.split("/") if part]
    if not parts or any(part in {".", ".."} or "\0" in part or "\\" in part for part in parts):
        raise ValueError(f"{path}: a name that leads out of the landing, or is none; rename the file")
    return parts


def hub_rows(rest: str) -> Iterator[dict[str, Any]]:
    """The rows of `NAME[:CONFIG[:SPLIT]][@REVISION]` on the Hugging Face hub, streamed, in their order.

    The split is `train` where none is named. A row's key is its `key` or `id`, else a digest of what it says.

    Raises:
        ValueError: there is no such data set, it cannot be reached from here, or its rows hold no text.
    """
    named = HUB.fullmatch(rest)
    if named is None:
        raise ValueError(f"--from hf:{rest}: wanted hf:NAME, hf:NAME:CONFIG, hf:NAME:CONFIG:SPLIT, each with @REVISION")
    rows, licence = _opened(rest, **named.groupdict())
    base = rest.partition("@")[0]
    while True:
        try:
            found = next(rows, None)
        except Exception as error:
            raise _unreachable(rest, error) from error
        if found is None:
            return
        row = {name: _plain(value) for name, value in found.items() if name in COLUMNS and value is not None}
        if not row.keys() & {"text", "messages"} and not {"prompt", "completion"} <= row.keys():
            raise ValueError(
                f"--from hf:{rest}: wanted a column `text`, `messages`, or `prompt` and `completion`, found "
                f"{', '.join(sorted(found))}; rename its columns with `datasets` and land what `save_to_disk` writes"
            )
        key = row.pop("key", row.pop("id", None))
        yield {
            "source": f"hf:{rest}",
            **({"licence": licence} if licence and "license" not in row else {}),
            **row,
            "key": f"hf/{base}/{digest_of(row)[:16] if key is None else key}",
        }


def _opened(
    rest: str, name: str, config: str | None, split: str | None, revision: str | None
) -> tuple[Iterator[dict[str, Any]], str]:
    import datasets

    try:
        opened = datasets.load_dataset(name, config, split=split or "train", revision=revision, streaming=True)
    except Exception as error:
        raise _unreachable(rest, error) from error
    return iter(opened), str(opened.info.license or "")


def _unreachable(rest: str, error: Exception) -> ValueError:
    said = str(error).strip().split("\n")[0][:200]
    return ValueError(
        f"--from hf:{rest}: the hub does not give it ({type(error).__name__}: {said}); correct the name, or, where the "
        "hub cannot be reached, save it elsewhere (`datasets.load_dataset(…).save_to_disk(FOLDER)`) and land the folder"
    )


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, date) else value
