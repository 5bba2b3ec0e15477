"""What lies in a watched place, and copies of it. Nothing here changes, moves or deletes a file of the place.

Left alone are files that are hidden, empty, or named like one that is still being written.
"""

import errno
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

import fsspec  # type: ignore[import-untyped]
from fsspec.utils import glob_translate  # type: ignore[import-untyped]

from pipelines.edge.home import Home
from pipelines.edge.landing import LANDING
from pipelines.edge.settings import Inbox

UNFINISHED = (".part", ".partial", ".filepart", ".tmp", ".crdownload")  # how programs name what they still write
PART_BYTES, NAME_BYTES = 255, 1024  # of one part of a name, and of all of it, at most
RESERVE_BYTES = 2**28  # of the disk, left alone
CHUNK_BYTES = 2**20
FULL = (errno.ENOSPC, errno.EDQUOT)
HTTP_DEPTH = 8  # folders: a server may answer every address with the same page of links
DIGESTS = ("etag", "md5hash", "contentmd5", "checksum", "sha", "generation")  # as the drivers of fsspec call them
TIMES = ("mtime", "lastmodified", "updated", "modified", "created")


@dataclass(frozen=True, slots=True)
class Found:
    """One file of a place."""

    name: str  # its path below the place
    source: str  # what the place opens
    mark: str  # another one when the file changed: its size, and its time of change or checksum
    num_bytes: int
    changed: float | None = None  # seconds since 1970; none: the place does not say


@dataclass(frozen=True, slots=True)
class Listing:
    """What lies in a place, and what of it cannot land, with the reason."""

    files: list[Found] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


class Room(fsspec.Callback):  # type: ignore[misc]
    """The bytes that may still be copied: half of what is free, since landing copies once more."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder
        self.left = max(0, shutil.disk_usage(folder).free - RESERVE_BYTES) // 2

    def take(self, num_bytes: int) -> None:
        """Count bytes before they are copied.

        Raises:
            OSError: they do not fit.
        """
        if num_bytes > self.left:
            raise OSError(
                errno.ENOSPC,
                f"{self.folder}: {num_bytes / 1e6:,.1f} MB more to copy, {self.left / 1e6:,.1f} MB may be used (half "
                "of what is free, less a reserve); nothing was landed: make room, it is tried again",
            )
        self.left -= num_bytes

    def relative_update(self, inc: int = 1) -> None:
        """What fsspec calls for each chunk that it has downloaded."""
        self.take(inc)


class Place(Protocol):
    """A place that is watched."""

    address: str  # where it is, in one spelling

    def look(self) -> Listing:
        """What lies there now.

        Raises:
            OSError: the place cannot be reached or read.
        """

    def copy(self, found: Found, target: Path, room: Room) -> bool:
        """Copy one file; false: it has changed since it was found.

        Raises:
            OSError: the file cannot be read, or the copy cannot be written.
        """

    def holds(self, address: str) -> bool:
        """Whether an address that a stranger wrote lies in this place, whatever it is spelled like."""


class Folder:
    """A folder of this machine. What is a link is never followed; what it leads to inside lands under its own name."""

    def __init__(self, home: Home, inbox: Inbox) -> None:
        self.root = home.root
        self.wanted = _pattern(inbox)
        given = Path(unquote(urlsplit(inbox.address).path) if "://" in inbox.address else inbox.address).expanduser()
        self.path = Path(os.path.realpath(home.root / given))
        self.address = str(self.path)
        self.ours = not given.is_absolute()
        if "://" in inbox.address and urlsplit(inbox.address).netloc:
            raise ValueError(f"inbox {inbox.address}: wanted file:///folder, found a host; write three slashes")
        if self.ours and not self.path.is_relative_to(home.root):
            raise ValueError(f"inbox {inbox.address}: leaves the workspace {home.root}; write an absolute path")
        for kept in (Path(os.path.realpath(each)) for each in (home.root / LANDING, home.hidden)):
            if kept.is_relative_to(self.path) or self.path.is_relative_to(kept):
                raise ValueError(f"inbox {inbox.address}: holds, or lies in, {kept}, which perennial fills itself")

    def make(self) -> None:
        """Make the folder, if it is one of the workspace; another's may be a disk that is away."""
        if self.ours:
            self.path.mkdir(parents=True, exist_ok=True)

    def look(self) -> Listing:
        """What lies in the folder."""
        self.make()
        listing = Listing()
        folders = [(str(self.path), "")]
        while folders:
            folder, above = folders.pop()
            try:
                with os.scandir(folder) as entries:
                    for entry in entries:
                        if not entry.name.startswith("."):
                            self._look_at(entry, above + entry.name, listing, folders)
            except OSError as error:
                if not above:
                    raise
                if isinstance(error, FileNotFoundError):  # removed since the folder above was read
                    continue
                listing.refused[_shown(above)] = f"cannot be read ({error.strerror}); make it readable"
        return listing

    def _look_at(self, entry: "os.DirEntry[str]", name: str, listing: Listing, folders: list[tuple[str, str]]) -> None:
        why = ""
        if entry.is_dir(follow_symlinks=False):
            folders.append((entry.path, f"{name}/"))
            return
        if not self.wanted(name) and not entry.is_dir():
            return
        if entry.is_symlink():
            if Path(os.path.realpath(entry.path)).is_relative_to(self.path):
                return
            why = "a link that leads out of the inbox; put the file itself there"
        elif not entry.is_file():
            why = "wanted a regular file, found a device, pipe or socket; leave it out"
        if why := why or _problem(name):
            listing.refused[_shown(name)] = why
            return
        try:
            status = entry.stat(follow_symlinks=False)
        except FileNotFoundError:  # renamed or removed since the folder was read
            return
        if status.st_size:
            listing.files.append(Found(name, entry.path, _mark(status), status.st_size, status.st_mtime))

    def copy(self, found: Found, target: Path, room: Room) -> bool:
        """Copy one file, which must be the one that was found before and after."""
        try:  # O_NONBLOCK: opening what has become a pipe must not wait for its other end
            descriptor = os.open(found.source, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        except FileNotFoundError:
            return False
        with open(descriptor, "rb") as reading, target.open("wb") as writing:  # noqa: PTH123 - a descriptor, no path
            status = os.fstat(descriptor)
            inside = Path(os.path.realpath(found.source))  # a folder on the way may have become a link
            if not stat.S_ISREG(status.st_mode) or not inside.is_relative_to(self.path):
                return False
            while chunk := reading.read(CHUNK_BYTES):
                room.take(len(chunk))
                writing.write(chunk)
            try:
                still = os.path.samestat(inside.stat(), status)
            except FileNotFoundError:
                return False
            return still and _mark(os.fstat(descriptor)) == found.mark

    def holds(self, address: str) -> bool:
        """Whether a path or file:// address lies in the folder, links followed."""
        if _hostile(address):
            return False
        scheme, separator, rest = address.partition("://")
        if separator and (scheme.lower() != "file" or not rest.startswith("/")):
            return False
        path = unquote(rest) if separator else address
        return Path(os.path.realpath(self.root / path)).is_relative_to(self.path)


class Remote:
    """An address that fsspec lists: an object store, a server. Credentials come from the environment of its driver."""

    def __init__(self, home: Home, inbox: Inbox) -> None:
        self.address = inbox.address
        self.wanted = _pattern(inbox)
        parts = urlsplit(inbox.address)
        if parts.username or parts.password or parts.query or parts.fragment:
            raise ValueError(
                f"inbox {parts.scheme}://…{parts.path}: an address with a user, password, query or fragment; "
                "credentials belong in the environment, not in perennial.yaml"
            )
        if _hostile(inbox.address):
            raise ValueError(
                f"inbox {inbox.address!r}: wanted an address without `..`, backslashes and escapes of them"
            )
        try:
            self.files, root = fsspec.url_to_fs(inbox.address)
        except (ImportError, ValueError) as error:
            raise ValueError(f"inbox {inbox.address}: {error}; install its driver or correct the address") from error
        self.root = root.rstrip("/")
        self.http = parts.scheme in {"http", "https"}

    def look(self) -> Listing:
        """What lies below the address, without what the driver remembers of it."""
        with _told_plainly(self.address):
            self.files.invalidate_cache()
            try:
                self.files.ls(self.root, detail=False)  # raises; the next line passes over what it cannot list
            except FileNotFoundError as error:
                message = f"{self.address}: nothing is there; wait for a first file, or correct the address"
                raise FileNotFoundError(message) from error
            entries = self.files.find(self.root, detail=True, **({"maxdepth": HTTP_DEPTH} if self.http else {}))
        listing = Listing()
        for path, entry in sorted(entries.items()):
            name = path[len(self.root) + 1 :]
            name = unquote(name) if self.http else name
            empty = entry.get("type") == "directory" or path.endswith("/") or entry.get("size") == 0
            if empty or not self._takes(name):
                continue
            why = _problem(name) if path.startswith(f"{self.root}/") else f"not below {self.root}; leave it out"
            if not why:
                try:
                    listing.files.append(self._found(name, path, entry))
                except OSError as error:
                    why = str(error)
            if why:
                listing.refused[_shown(name)] = why
        return listing

    def _takes(self, name: str) -> bool:
        links = self.http and ("?" in name or "#" in name)  # a page's links to itself, sorted otherwise
        return (
            not links
            and not any(part.startswith(".") and part != ".." for part in name.split("/"))
            and self.wanted(name)
        )

    def _found(self, name: str, path: str, entry: dict[str, Any]) -> Found:
        if entry.get("size") is None:
            with _told_plainly(path):
                entry = self.files.info(path)
        known = {re.sub("[^a-z0-9]", "", key.lower()): value for key, value in entry.items() if value is not None}
        marks = [str(known[key]) for key in DIGESTS + TIMES if key in known]
        changed = next((known[key] for key in TIMES if isinstance(known.get(key), float | int | datetime)), None)
        changed = changed.timestamp() if isinstance(changed, datetime) else changed
        num_bytes = int(known.get("size", 0))
        return Found(name, path, " ".join([str(num_bytes), *marks]), num_bytes, changed)

    def copy(self, found: Found, target: Path, room: Room) -> bool:
        """Download one file."""
        try:
            with _told_plainly(found.source):
                self.files.get_file(found.source, str(target), callback=room)
        except FileNotFoundError:
            return False
        return not found.num_bytes or target.stat().st_size == found.num_bytes

    def holds(self, address: str) -> bool:
        """Whether an address has this one's scheme, host or bucket, and path."""
        if _hostile(address) or "?" in address or "#" in address:
            return False
        mine, theirs = (re.sub(r"^[^/]+://", lambda found: found[0].lower(), each) for each in (self.address, address))
        return f"{theirs.rstrip('/')}/".startswith(f"{mine.rstrip('/')}/")


def place_of(home: Home, inbox: Inbox) -> Place:
    """The place of an inbox.

    Raises:
        ValueError: its address or pattern does not fit.
    """
    scheme, separator, _ = inbox.address.partition("://")
    if separator and "::" in inbox.address:
        raise ValueError(f"inbox {scheme}://…: wanted a plain address, found a chain (archives are not unpacked)")
    return Remote(home, inbox) if separator and scheme != "file" else Folder(home, inbox)


def _pattern(inbox: Inbox) -> Any:
    try:
        matches = re.compile(glob_translate(inbox.pattern)).match
    except (ValueError, re.error) as error:
        raise ValueError(
            f"inbox {inbox.address}: pattern {inbox.pattern!r}: {error}; for instance **/*.jsonl"
        ) from error
    return lambda name: matches(name) and not name.lower().endswith(UNFINISHED)


def _mark(status: os.stat_result) -> str:
    return f"{status.st_size} {status.st_mtime_ns}"


def _problem(name: str) -> str:
    """Why a file may not land under its name; empty: it may."""
    parts = name.split("/")
    try:
        long = len(name.encode()) > NAME_BYTES or any(len(part.encode()) > PART_BYTES for part in parts)
    except UnicodeEncodeError:
        return "a name that is no UTF-8; rename it"
    if "\0" in name or any(part in {"", ".", ".."} for part in parts):
        return "a name that leads out of the inbox, or is none; rename it"
    return f"a name of more than {PART_BYTES} bytes in one part, or {NAME_BYTES} in all; shorten it" if long else ""


def _shown(name: str) -> str:
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def _hostile(address: str) -> bool:
    """Whether an address has what no honest one has: control characters, backslashes, or `..`, encoded or not."""
    for _ in range(5):
        if re.search(r"[\x00-\x1f\x7f\\]|(^|/)\.\.(/|$)", address):
            return True
        decoded = unquote(address)
        if decoded == address:
            return False
        address = decoded
    return True


@contextmanager
def _told_plainly(address: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # each driver of fsspec has errors of its own
        if isinstance(error, FileNotFoundError) or getattr(error, "errno", None) in FULL:
            raise
        raise ConnectionError(f"{address}: cannot be read ({type(error).__name__}: {str(error)[:200]})") from error
