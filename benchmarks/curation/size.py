"""One large file through ingest, split and clean: seconds, and the most memory that all processes held together.

    python -m benchmarks.curation.size [GIGABYTES]

Texts are made from a seed, so that no two are near-duplicates; what is measured is the way, not the rules. Memory is
what `/proc/<pid>/smaps_rollup` calls Pss, added up: a page that several processes share counts once. The three stages
run in this process, one after the other, so that each also holds what those before it imported.
"""

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from benchmarks.curation.history import _empty
from pipelines.edge.runtime import mapper
from pipelines.edge.settings import Runtime
from steps.clean import CleanConfig, clean
from steps.core.artifacts import Batch, Buffer, HoldoutState, Index, Landed, Model, TaskFacts
from steps.core.manifest import LandedFile, Manifest, digest_of_landing
from steps.core.shards import digest_of_file, write_json
from steps.core.workspace import Workspace
from steps.ingest import IngestConfig, ingest
from steps.split import SplitConfig, split

CONTRACT = Path(__file__).resolve().parents[2] / "data/contracts/documents.json"
WORDS, WORDS_A_TEXT, AT_ONCE = 20_000, 700, 2_000


def run(gigabytes: float) -> dict[str, Any]:
    """Make the file, then take it through the three stages."""
    with tempfile.TemporaryDirectory(prefix="perennial-size-") as folder:
        root = Path(folder)
        landed = _land(root, int(gigabytes * 1e9))
        (root / "data/contracts").mkdir(parents=True)
        (root / "data/contracts/documents.json").write_bytes(CONTRACT.read_bytes())
        found: dict[str, Any] = {"gigabytes": gigabytes}
        with _watched(found, "ingest"):
            corpus = {"topics": ingest(_at(root, "ingest/topics"), IngestConfig(), landed)}
        with _watched(found, "split"):
            holdout = split(_at(root, "split"), SplitConfig(), corpus, _empty(HoldoutState))
        model = Model(digest="", path="data", num_parameters=0)
        with _watched(found, "clean"):
            state = (_empty(Index), _empty(Buffer), model, {})
            kept = clean(_at(root, "clean"), CleanConfig(), corpus, holdout, *state)
        found |= {"documents": corpus["topics"].num_documents, "kept": kept.kept, "dropped": kept.dropped}
    return found


def _land(root: Path, size: int) -> Landed:
    folder = root / "data/landing/topics/0001"
    file = folder / "files/pages.jsonl"
    file.parent.mkdir(parents=True)
    draw = np.random.default_rng(20)
    vocabulary = np.array([f"w{place:x}" for place in range(WORDS)])
    written = number = 0
    with file.open("wb") as lines:
        while written < size:
            for own in draw.zipf(1.3, size=(AT_ONCE, WORDS_A_TEXT)) % WORDS:
                line = json.dumps({"id": number, "text": " ".join(vocabulary[own].tolist())}) + "\n"
                written += lines.write(line.encode())
                number += 1
    listed = (LandedFile(name="pages.jsonl", sha256=digest_of_file(file), bytes=file.stat().st_size),)
    digest = digest_of_landing(listed, ())
    manifest = Manifest(task="topics", name="0001", landed_at="", files=listed, removals=(), digest=digest)
    write_json(folder / "manifest.json", manifest.model_dump())
    batch = Batch(
        digest=digest, task="topics", name="0001", path="data/landing/topics/0001", time="2026-01-01T00:00:00Z"
    )
    return Landed(digest=digest, task=TaskFacts(name="topics"), batches=(batch,))


def _at(root: Path, stage: str) -> Workspace:
    path = root / "data" / stage
    path.mkdir(parents=True, exist_ok=True)
    return Workspace(root=root, path=path, seed=20, map=mapper(Runtime(), root))


@contextmanager
def _watched(found: dict[str, Any], stage: str) -> Iterator[None]:
    """Note how long a stage takes, and the proportional memory of this process and all its children at the most."""
    most, done = 0, threading.Event()

    def watch() -> None:
        nonlocal most
        me = psutil.Process()
        while not done.wait(0.5):
            total = 0
            for process in (me, *me.children(recursive=True)):
                try:
                    total += process.memory_full_info().pss
                except psutil.Error:
                    continue
            most = max(most, total)

    watcher, began = threading.Thread(target=watch), time.perf_counter()
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
    found[stage] = {"seconds": round(time.perf_counter() - began, 1), "most_megabytes": round(most / 1e6)}
    print(f"{stage:<8} {found[stage]['seconds']:8,.0f} s {found[stage]['most_megabytes']:8,} MB", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("gigabytes", type=float, nargs="?", default=5.0)
    print(json.dumps(run(parser.parse_args().gigabytes)))


if __name__ == "__main__":
    main()
