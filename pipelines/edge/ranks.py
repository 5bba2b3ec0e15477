"""A step in several processes that see each other: torchrun starts them, this process watches over them.

Each is given the same job: the step with its section and its artifacts, as it would run here. In lines of JSON the
first one tells of metrics, progress and what it logs, and all tell of errors; what was made is read back from a file.
They end when this process ends, however it does. Run as a module, this is one of them.
"""

import contextlib
import dataclasses
import importlib
import json
import logging
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import typing
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, NoReturn, TypeAlias, TypeVar

from pydantic import BaseModel

from steps.core.artifacts import Artifact, Frozen
from steps.core.shards import write_json
from steps.core.training import told_to_stop
from steps.core.workspace import Workspace

logger = logging.getLogger(__name__)
Made = TypeVar("Made", bound=Artifact)
Step = Callable[..., Made]
Lines: TypeAlias = "queue.SimpleQueue[str | None]"

FOLDER, JOB, MADE, SAID = ".ranks", "job.json", "made.json", "stderr.txt"
POLL_SECONDS = 0.2
END_SECONDS = 20.0  # for processes that were told to end, before they are killed
SILENCE = timedelta(hours=1)  # between processes; one that died is noticed at once
SHOWN_CHARACTERS = 3000  # of an error: a line that a pipe carries whole
SHOWN_LINES = 15
ERRORS: tuple[type[Exception], ...] = (ValueError, MemoryError, OSError)  # those that are raised here as they were
FOLLOWS = ("gloo", "nccl", "connection", "socket")  # words of an error that tells of another process's end
DIED = re.compile(r"Signal \d+ \((SIG\w+)\) received by PID \d+")  # torchrun's account of who failed first


class Job(Frozen):
    """A step as each process is given it."""

    step: str
    section: dict[str, Any]
    artifacts: tuple[dict[str, Any], ...]
    root: Path
    path: Path
    seed: int
    code: str
    device: str
    level: int


def in_processes(
    number: int, step: Step[Made], workspace: Workspace, section: BaseModel, artifacts: tuple[Any, ...]
) -> Callable[[], Made]:
    """The work of a step: here, or in so many processes."""
    if number == 1:
        return lambda: step(workspace, section, *artifacts)
    return lambda: _together(number, step, workspace, section, artifacts)


def _together(
    number: int, step: Step[Made], workspace: Workspace, section: BaseModel, artifacts: tuple[Any, ...]
) -> Made:
    folder = workspace.path / FOLDER
    shutil.rmtree(folder, ignore_errors=True)
    job = Job(
        step=step.__name__,
        section=section.model_dump(mode="json"),
        artifacts=tuple(artifact.model_dump(mode="json") for artifact in artifacts),
        root=workspace.root,
        path=workspace.path,
        seed=workspace.seed,
        code=workspace.code,
        device=workspace.device,
        level=logging.getLogger("steps").getEffectiveLevel(),
    )
    write_json(folder / JOB, job.model_dump(mode="json"))
    heard = _Heard(workspace, number)
    with told_to_stop() as stop, _started(folder, number) as lines:
        asked = False
        while True:
            if stop.is_set() and not asked and len(heard.pids) == number:
                asked = True
                heard.stop()
            try:
                line = lines.get(timeout=POLL_SECONDS)
            except queue.Empty:
                continue
            if line is None:
                break
            heard.take(line)
    if not (folder / MADE).exists():
        heard.fail((folder / SAID).read_text(encoding="utf-8", errors="replace"), asked=asked)
    made = typing.get_type_hints(step)["return"].model_validate_json((folder / MADE).read_text(encoding="utf-8"))
    shutil.rmtree(folder)
    return typing.cast("Made", made)


@contextlib.contextmanager
def _started(folder: Path, number: int) -> Iterator[Lines]:
    """The lines that so many processes say, None after the last; at the end none of them is left."""
    cores = int(os.environ.get("OMP_NUM_THREADS", "0")) or os.cpu_count() or 1
    loopback = "lo0" if sys.platform == "darwin" else "lo"
    here = {"OMP_NUM_THREADS": str(max(1, cores // number)), "GLOO_SOCKET_IFNAME": loopback}
    words = ["torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", "--nproc-per-node", str(number)]
    words = [sys.executable, "-m", *words, "--module", __spec__.name, str(folder / JOB)]
    lines: Lines = queue.SimpleQueue()
    with (folder / SAID).open("wb") as said:
        pipe = subprocess.PIPE
        process = subprocess.Popen(  # noqa: S603
            words,
            stdin=pipe,  # never written: its end is how they learn of ours
            stdout=pipe,
            stderr=said,
            text=True,
            start_new_session=True,  # Ctrl-C is this process's to pass on
            env={**here, **os.environ, "OMP_NUM_THREADS": here["OMP_NUM_THREADS"]},
        )
        reader = threading.Thread(target=_read, args=(process.stdout, lines), name="ranks", daemon=True)
        reader.start()
        try:
            yield lines
        finally:
            assert process.stdin is not None
            process.stdin.close()
            try:
                process.wait(END_SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            reader.join(END_SECONDS)


def _read(stream: Any, lines: Lines) -> None:
    with stream:
        for line in stream:
            lines.put(line)
    lines.put(None)


class _Heard:
    """What the processes said, as far as it decides how this ends; the rest is passed on."""

    def __init__(self, workspace: Workspace, number: int) -> None:
        self.pids: list[int] = []
        self._workspace, self._number = workspace, number
        self._errors: list[dict[str, Any]] = []
        self._stopped: str | None = None

    def take(self, line: str) -> None:
        """Pass a line on, or keep it for the end."""
        try:
            said = json.loads(line)
        except ValueError:
            logger.info("%s", line.rstrip())
            return
        match said["kind"]:
            case "pid":
                self.pids.append(said["pid"])
            case "report":
                self._workspace.report(said["step"], said["metrics"])
            case "progress":
                self._workspace.progress(said["done"], said["total"], said["what"])
            case "log":
                logging.getLogger(said["name"]).log(said["level"], "%s", said["message"])
            case "stopped":
                self._stopped = said["message"]
            case "error":
                self._errors.append(said)

    def stop(self) -> None:
        """Ask all to stop after this step; they agree on which it is."""
        for pid in self.pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)

    def fail(self, said: str, *, asked: bool) -> NoReturn:
        """Raise what ended them: the first error; those of the others follow from it."""
        died = DIED.findall(said)
        first = self._errors[0] if self._errors else None
        follows = first is not None and any(word in first["message"].lower() for word in FOLLOWS)
        if self._stopped is not None or (asked and "SIGTERM" in died):
            raise KeyboardInterrupt(self._stopped or "stopped before the first step")
        if first is not None and not (follows and died):
            raise _as_it_was(first, self._number)
        if died:
            raise RuntimeError(
                f"train: one of {self._number} processes died of {died[0]}; SIGKILL is mostly the system's answer to "
                "too little memory, SIGSEGV a fault in compiled code"
            )
        raise RuntimeError(f"train: {self._number} processes ended without a word:\n{_tail(said)}")


def _as_it_was(said: Mapping[str, Any], number: int) -> Exception:
    """The error that a process told of, with the number behind it that says whose fault it was."""
    kind = next((kind for kind in ERRORS if kind.__name__ == said["type"]), None)
    error = kind(said["message"]) if kind else RuntimeError(f"train: {said['type']}: {said['message']}")
    error.add_note(f"process {said['rank']} of {number}:\n{said['trace']}")
    if said["errno"] is not None:
        error.__cause__ = OSError(said["errno"], os.strerror(said["errno"]))
    return error


def _errno(error: BaseException | None) -> int | None:
    """The first error number in a chain of errors."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None:
            return error.errno
        error = error.__cause__ or error.__context__
    return None


def _tail(text: str) -> str:
    return "\n".join(text.splitlines()[-SHOWN_LINES:])


def main() -> None:
    """One of the processes: take part in the job, and say how it went."""
    job = Job.model_validate_json(Path(sys.argv[1]).read_text(encoding="utf-8"))
    rank, number, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    say = _Voice(os.dup(1))
    os.dup2(2, 1)  # what a library prints is no message
    threading.Thread(target=_end_with_session, name="watch-session", daemon=True).start()
    say("pid", pid=os.getpid())
    try:
        made = _take_part(job, rank, number, local, say)
    except KeyboardInterrupt as stopped:
        say("stopped", message=str(stopped))
    except BaseException as error:  # noqa: BLE001  whatever it is, the session has to hear of it
        import traceback

        name = next((kind.__name__ for kind in ERRORS if isinstance(error, kind)), type(error).__name__)
        message, trace = str(error)[: SHOWN_CHARACTERS // 2], _tail(traceback.format_exc())[-SHOWN_CHARACTERS // 2 :]
        say("error", rank=rank, type=name, message=message, errno=_errno(error), trace=trace)
        os._exit(1)  # at once: the others wait for this one
    else:
        if rank == 0:
            write_json(Path(sys.argv[1]).with_name(MADE), made.model_dump(mode="json"))


def _take_part(job: Job, rank: int, number: int, local: int, say: "_Voice") -> Artifact:
    import torch
    import torch.distributed as dist

    logging.basicConfig(level=logging.CRITICAL)
    if rank == 0:
        for name in ("steps", "pipelines"):
            logging.getLogger(name).addHandler(_Told(say, job.level))
            logging.getLogger(name).setLevel(job.level)
    if job.device == "cuda":
        torch.cuda.set_device(local)
    dist.init_process_group("cpu:gloo,cuda:nccl" if job.device == "cuda" else "gloo", timeout=SILENCE)
    workspace = Workspace(
        root=job.root,
        path=job.path,
        seed=job.seed,
        code=job.code,
        device=job.device,
        rank=rank,
        num_ranks=number,
    )
    if rank == 0:
        workspace = dataclasses.replace(workspace, report=say.report, progress=say.progress)
    step = getattr(importlib.import_module(f"steps.{job.step}"), job.step)
    kinds = list(typing.get_type_hints(step).values())[1:-1]  # after the workspace, before what it returns
    given = [kind.model_validate(value) for kind, value in zip(kinds, (job.section, *job.artifacts), strict=True)]
    made: Artifact = step(workspace, *given)
    dist.destroy_process_group()
    return made


class _Voice:
    """Lines of JSON, each written whole."""

    def __init__(self, handle: int) -> None:
        self._handle = handle

    def __call__(self, kind: str, **said: Any) -> None:
        os.write(self._handle, (json.dumps({"kind": kind, **said}) + "\n").encode())

    def report(self, step: int, metrics: Mapping[str, float]) -> None:
        """Metrics at a step."""
        self("report", step=step, metrics=dict(metrics))

    def progress(self, done: int, total: int, what: str) -> None:
        """So many of so many."""
        self("progress", done=done, total=total, what=what)


class _Told(logging.Handler):
    """Log records, told to the session."""

    def __init__(self, say: _Voice, level: int) -> None:
        super().__init__(level)
        self._say = say

    def emit(self, record: logging.LogRecord) -> None:
        """Tell of one record."""
        self._say("log", name=record.name, level=record.levelno, message=record.getMessage()[:SHOWN_CHARACTERS])


def _end_with_session() -> NoReturn:
    """End this process when the session's does: then standard input ends, which torchrun passes on and never reads."""
    while os.read(0, 1):
        pass
    os._exit(1)  # whoever starts the stage again must find nobody writing into its folder


if __name__ == "__main__":
    main()
