"""What history costs: the same amount of new text, cleaned behind one refresh and behind many.

Every refresh is real: split and clean run on a batch of its own, and what they add to the state is kept. Texts are made
from a seed, so that every batch is equally long and no two documents are near-duplicates.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from steps.clean import CleanConfig, clean
from steps.core.artifacts import Buffer, Corpus, HoldoutState, Index, Model, State, TaskFacts
from steps.core.documents import content_hash
from steps.core.shards import digest_of, write_lines
from steps.core.workspace import Workspace
from steps.split import SplitConfig, split

WORDS = 20_000
SEED = 20


def run(documents: int = 2000, times: int = 50, words: int = 300) -> dict[str, Any]:
    """Refresh `times` + 1 times; seconds and bytes of the second refresh and of the last."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="perennial-history-") as folder:
        root, index, state = Path(folder), _empty(Index), _empty(HoldoutState)
        for number in range(times + 1):
            corpus = {"topics": _batch(root, number, documents, words)}
            began = time.perf_counter()
            holdout = split(_at(root, number, "split"), SplitConfig(), corpus, state)
            split_seconds = time.perf_counter() - began
            model = Model(digest="", path="data", num_parameters=0)
            began = time.perf_counter()
            kept = clean(_at(root, number, "clean"), CleanConfig(), corpus, holdout, index, _empty(Buffer), model, {})
            seconds = time.perf_counter() - began
            index, state = kept.index, holdout.state
            added = sum(_bytes(root / one.segments[-1].path) for one in (index, state))
            rows.append({"split_seconds": split_seconds, "clean_seconds": seconds, "state_bytes": added})
    first, last = rows[1:6], rows[-5:]  # the first compiles and imports; medians of five, since machines are noisy
    found = {name: _median(last, name) / _median(first, name) for name in rows[0]}
    return {"documents": documents, "times": times, "ratios": found, "first": first, "last": last}


def _median(rows: list[dict[str, float]], name: str) -> float:
    return float(np.median([row[name] for row in rows]))


def table(found: dict[str, Any]) -> str:
    """The result for a person."""
    lines = [f"{found['documents']:,} documents a refresh, behind 1 to 5 refreshes and behind {found['times'] - 4} to "]
    lines[0] += f"{found['times']}"
    for name, ratio in found["ratios"].items():
        first, last = (_median(found[side], name) for side in ("first", "last"))
        lines.append(f"{name:<16} {first:14,.2f} {last:14,.2f}   x {ratio:.2f}")
    return "\n".join(lines)


def _batch(root: Path, number: int, documents: int, words: int) -> Corpus:
    draw = np.random.default_rng([SEED, number])
    vocabulary = np.array([f"w{place:x}" for place in range(WORDS)])
    path = root / "data" / f"ingest-{number}" / "topics"
    drawn = draw.zipf(1.3, size=(documents, words)) % WORDS
    texts = [" ".join(vocabulary[own].tolist()) for own in drawn]
    write_lines(path / "documents.jsonl", (_row(number, place, text) for place, text in enumerate(texts)))
    return Corpus(
        digest=digest_of([number, documents, words]),
        task=TaskFacts(name="topics"),
        path=path.relative_to(root).as_posix(),
        num_landed=documents,
        num_documents=documents,
        quarantined={},
    )


def _row(number: int, place: int, text: str) -> dict[str, str]:
    facts = {"task": "topics", "source": "made", "language": "en", "time": "2026-01-01", "licence": "CC0-1.0"}
    return {"key": f"{number}/{place}", "content_hash": content_hash(text), "text": text, "batch": str(number), **facts}


def _at(root: Path, number: int, stage: str) -> Workspace:
    path = root / "data" / f"{stage}-{number}"
    path.mkdir(parents=True, exist_ok=True)
    return Workspace(root=root, path=path, seed=SEED)


def _empty(kind: type[State]) -> Any:
    return kind(digest=digest_of([]))


def _bytes(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=2000, help="of each refresh")
    parser.add_argument("--times", type=int, default=50, help="refreshes behind the last")
    parser.add_argument("--json", action="store_true", help="for machines")
    options = parser.parse_args()
    found = run(options.documents, options.times)
    print(json.dumps(found) if options.json else table(found))


if __name__ == "__main__":
    main()
