"""MinHash: signatures against datatrove's and rensa's on the same documents; looking up against a long history.

    python -m benchmarks.curation.minhash [FILE.jsonl.gz ...] [--documents N]

Each tool signs the same texts, in one process on one core and then in one process for each core, from text to
signature. rensa signs what it is given: its words (as its manual does), or runs of five words, which Python makes.
Only perennial's signatures are compared with datatrove's: they must be equal.
"""

import argparse
import gzip
import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from steps.core.index import IndexRow, OpenIndex, write_index
from steps.core.minhash import PRIME, band_hashes, signatures
from steps.core.texts import Texts

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpora" / "general.jsonl.gz"
NUM_PERMUTATIONS = 112
REPEATS = 5  # the best counts: other work on the machine only slows
Sign = Callable[[Sequence[str]], Any]


def perennial(texts: Sequence[str]) -> np.ndarray:
    return signatures(Texts(texts))


def perennial_buckets(texts: Sequence[str]) -> np.ndarray:
    return band_hashes(Texts(texts))


def datatrove(texts: Sequence[str]) -> np.ndarray:
    import xxhash
    from datatrove.pipeline.dedup.minhash import MinhashConfig, MinhashDedupSignature

    step = MinhashDedupSignature("unused", MinhashConfig())
    step._hash_func = lambda run: xxhash.xxh64_intdigest(run.encode())  # it hands over str: xxhash 3 took that
    found = np.full((len(texts), NUM_PERMUTATIONS), np.iinfo(np.uint64).max, dtype=np.uint64)
    for row, text in enumerate(texts):
        shingles = step.get_shingles(text)
        if len(shingles):
            found[row] = np.concatenate(step.get_signature(shingles))
    return found


def rensa_words(texts: Sequence[str]) -> Any:
    from rensa import RMinHash

    return RMinHash.digest_matrix_from_token_sets([text.split() for text in texts], NUM_PERMUTATIONS, 1)


def rensa_runs(texts: Sequence[str]) -> Any:
    from rensa import RMinHash

    runs = []
    for text in texts:
        words = text.lower().split()
        runs.append([" ".join(words[at : at + 5]) for at in range(len(words) - 4)])
    return RMinHash.digest_matrix_from_token_sets(runs, NUM_PERMUTATIONS, 1)


TOOLS: dict[str, tuple[Sign, int]] = {  # and how often
    "perennial": (perennial, REPEATS),
    "perennial, with buckets": (perennial_buckets, REPEATS),
    "datatrove": (datatrove, 1),
    "rensa, words": (rensa_words, REPEATS),
    "rensa, runs of five words": (rensa_runs, REPEATS),
}


def warm(name: str) -> None:
    TOOLS[name][0](["so many words are enough to load what a tool loads at first"] * 2)


def seconds(name: str, texts: Sequence[str]) -> float:
    """The best time of one process on one core: of the processor, so that other work does not count."""
    warm(name)
    sign, repeats = TOOLS[name]
    found = []
    for _ in range(repeats):
        begin = time.process_time()
        sign(texts)
        found.append(time.process_time() - begin)
    return min(found)


def _sign(job: tuple[str, Sequence[str]]) -> None:
    TOOLS[job[0]][0](job[1])


def seconds_on_all(name: str, texts: Sequence[str], cores: Sequence[int]) -> float:
    """The best time of one process for each core, each with its share of the texts."""
    shares = [(name, texts[first :: len(cores)]) for first in range(len(cores))]
    with ProcessPoolExecutor(len(cores), get_context("spawn"), _alone, (cores, name)) as pool:
        list(pool.map(_sign, [(name, ["five words in a text"])] * 2 * len(cores)))
        found = []
        for _ in range(TOOLS[name][1]):
            begin = time.perf_counter()
            list(pool.map(_sign, shares))
            found.append(time.perf_counter() - begin)
    return min(found)


def _alone(cores: Sequence[int], name: str) -> None:
    os.environ["RAYON_NUM_THREADS"] = "1"
    os.sched_setaffinity(0, cores)
    warm(name)


def sign_table(texts: Sequence[str], cores: Sequence[int]) -> None:
    size = sum(len(text.encode()) for text in texts) / 1e6
    print(f"signatures of {len(texts):,} documents, {size:.1f} MB, {NUM_PERMUTATIONS} permutations, runs of 5 words")
    os.environ["RAYON_NUM_THREADS"] = "1"  # before rensa starts its threads
    os.sched_setaffinity(0, cores[:1])
    one = {name: seconds(name, texts) for name in TOOLS}
    os.sched_setaffinity(0, cores)
    every = {name: seconds_on_all(name, texts, cores) for name in TOOLS}
    print(f"{'':28}{'one core':>30}{f'{len(cores)} cores':>30}")
    print(f"{'':28}{'documents/s':>14}{'MB/s':>8}{'ratio':>8}{'documents/s':>14}{'MB/s':>8}{'ratio':>8}")
    for name in TOOLS:
        cells = "".join(
            f"{len(texts) / own[name]:>14,.0f}{size / own[name]:>8.2f}{own['datatrove'] / own[name]:>8.1f}"
            for own in (one, every)
        )
        print(f"{name:28}{cells}")
    for name in ("rensa, words", "rensa, runs of five words"):
        print(f"perennial / {name}: {one[name] / one['perennial']:.2f} on one core")
    sample = texts[:200]
    equal = (perennial(sample) == datatrove(sample)).all(axis=1)
    print(f"signatures equal to datatrove's: {equal.sum()} of {len(sample)}; none: {(perennial(sample) > PRIME).sum()}")


def lookup_table(num_segments: Sequence[int], num_rows: int = 20_000, num_queries: int = 10_000) -> None:
    print(f"\nlooking up {num_queries:,} documents, 14 bands, in segments of {num_rows:,} documents (processor, ms)")
    rng = np.random.default_rng(1)
    asked = rng.integers(1, 2**64, (num_queries, 14), dtype=np.uint64)
    asked_keys = [f"https://example.org/{number}" for number in range(-num_queries // 2, num_queries // 2)]
    asked_contents = [f"{number:064x}" for number in range(num_rows - num_queries // 2, num_rows + num_queries // 2)]
    with TemporaryDirectory() as root:
        for segment in range(max(num_segments)):
            rows = [
                IndexRow(
                    f"https://example.org/{number if segment == 0 else -number - num_queries}", "t", f"{number:064x}"
                )
                for number in range(segment * num_rows, (segment + 1) * num_rows)
            ]
            bands = rng.integers(1, 2**64, (num_rows, 14), dtype=np.uint64)
            if segment == 0:
                asked[:300] = bands[:300]
            write_index(Path(root) / str(segment), rows, bands, "benchmark")
        size = sum(path.stat().st_size for path in (Path(root) / "0").iterdir())
        text = (Path(root) / "0" / "index.jsonl").stat().st_size
        print(f"{size / num_rows:.0f} bytes a document, of them {text / num_rows:.0f} of text")
        print(f"{'segments':>10}{'open':>8}{'near':>8}{'entries':>9}{'owners':>8}{'all':>8}")
        for count in num_segments:
            best = np.full(4, np.inf)
            for _ in range(REPEATS):
                clock = [time.process_time()]
                index = OpenIndex([Path(root) / str(segment) for segment in range(count)])
                clock.append(time.process_time())
                for verb, what in ((index.near, asked), (index.entries, asked_keys), (index.owners, asked_contents)):
                    verb(what)
                    clock.append(time.process_time())
                best = np.minimum(best, 1000 * np.diff(clock))
            print(f"{count:>10}{best[0]:>8.1f}{best[1]:>8.1f}{best[2]:>9.1f}{best[3]:>8.1f}{best.sum():>8.1f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, default=[CORPUS])
    parser.add_argument("--documents", type=int, default=1000, help="of the files, evenly; datatrove signs 60 a second")
    parser.add_argument("--segments", type=int, nargs="*", default=[1, 10, 50])
    options = parser.parse_args()
    texts = []
    for path in options.files:
        with gzip.open(path, "rt", encoding="utf-8") as file:
            texts += [json.loads(line)["text"] for line in file]
    sign_table(texts[:: max(1, len(texts) // options.documents)], sorted(os.sched_getaffinity(0)))
    lookup_table(options.segments)


if __name__ == "__main__":
    main()
