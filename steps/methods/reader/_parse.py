"""The process in which guarded readers parse: one JSON line in for each file, JSON lines out, `{"end": true}` last."""

import importlib
import json
import os
import resource
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from steps.core.method import load_method

PAGE_BYTES = resource.getpagesize()


def main() -> None:
    """Serve until standard input ends, which it does when the reader's process does."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.putenv("ARROW_DEFAULT_MEMORY_POOL", "system")  # Arrow's own reserves a gibibyte before the first row
    with os.fdopen(os.dup(1), "w", encoding="ascii") as out:
        os.dup2(2, 1)  # what a library prints is no answer
        for line in sys.stdin:
            for answer in _answers(json.loads(line)):
                out.write(json.dumps(answer) + "\n")
            out.flush()


def _answers(request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    file, name = Path(request.pop("file")), request.pop("name")
    _free_memory()  # a library is not counted, whichever file was read before it
    reader: Any = load_method("reader", request.pop("method"))(**request)
    for library in reader.libraries:
        importlib.import_module(library)
    _limit_memory(reader.max_memory_bytes)
    try:
        records = reader.parse(file, name)
        while True:
            _limit_time(reader.max_cpu_seconds)
            record = next(records, None)
            if record is None:
                break
            yield asdict(record)
    except MemoryError:
        yield {"reason": "too-much-memory"}
    except RecursionError:
        yield {"reason": "nested-too-deep"}
    except Exception:  # noqa: BLE001  # a library that meets junk may raise anything
        yield {"reason": f"damaged-{reader.method_name()}"}
    yield {"end": True}


def _limit_time(seconds: int) -> None:
    """Let the kernel end this process (SIGXCPU) when it computes for so many more seconds."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + seconds + 1, hard))


def _free_memory() -> None:
    hard = resource.getrlimit(resource.RLIMIT_AS)[1]
    resource.setrlimit(resource.RLIMIT_AS, (hard, hard))


def _limit_memory(num_bytes: int) -> None:
    """Let allocations beyond what this process has now, and so many bytes, fail; where the kernel tells what it has."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        now = int(statm.read_text().split()[0]) * PAGE_BYTES
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (now + num_bytes, hard))


if __name__ == "__main__":
    main()
