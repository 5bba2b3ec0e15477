"""The four rule sets and their chain, against datatrove, on the same documents in one run.

    python -m benchmarks.curation rules [FILE.jsonl.gz ...] [--documents N] [--json]

Texts are in memory; each tool goes from text to verdict, in one process on one core (time of the processor, so that
other work does not count) and in one process for each core (time of the clock). perennial tokenises anew for each rule
that is measured alone, and once for the chain, like datatrove, which keeps the words of the last texts. The time that
numba takes to compile, in an empty cache, is told beside.
"""

import argparse
import gzip
import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import cache
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from steps.core.texts import Texts
from steps.methods.quality import Quality
from steps.methods.quality.c4 import C4
from steps.methods.quality.fineweb import Fineweb
from steps.methods.quality.gopher_quality import GopherQuality
from steps.methods.quality.gopher_repetition import GopherRepetition

CORPUS = Path(__file__).resolve().parents[3] / "shared" / "corpora" / "general.jsonl.gz"
BATCH = 2000  # documents; clean works on some megabytes at a time, too
REPEATS = 5  # of perennial, the best counts; datatrove runs once
RULES: dict[str, Quality] = {  # in FineWeb's order
    "gopher-repetition": GopherRepetition(),
    "gopher-quality": GopherQuality(),
    "c4": C4(filter_no_terminal_punct=False),
    "fineweb": Fineweb(),
}
CHAIN = tuple(RULES)
MEASURED: dict[str, tuple[str, ...]] = {**{name: (name,) for name in RULES}, "the chain of four": CHAIN}
Reasons = list[str]


def perennial(names: Sequence[str], texts: Sequence[str]) -> Reasons:
    """Why each text is dropped; empty: it is not."""
    reasons = [""] * len(texts)
    for first in range(0, len(texts), BATCH):
        batch, rows = Texts(texts[first : first + BATCH]), list(range(first, min(first + BATCH, len(texts))))
        for name in names:
            found = RULES[name].judge(batch, Path())
            for row, judgement in zip(rows, found, strict=True):
                reasons[row] = judgement.reason
            fit = [place for place, judgement in enumerate(found) if not judgement.reason]
            rows, edits = [rows[place] for place in fit], [found[place].text for place in fit]
            if all(text is None for text in edits):
                batch = batch.take(fit)
            else:
                old = [batch.texts[place] for place in fit]
                batch = Texts([before if new is None else new for before, new in zip(old, edits, strict=True)])
    return reasons


@cache
def filters() -> dict[str, Any]:
    from datatrove.pipeline import filters as theirs

    return {
        "gopher-repetition": theirs.GopherRepetitionFilter(),
        "gopher-quality": theirs.GopherQualityFilter(),
        "c4": theirs.C4QualityFilter(filter_no_terminal_punct=False),
        "fineweb": theirs.FineWebQualityFilter(),
    }


def datatrove(names: Sequence[str], texts: Sequence[str]) -> Reasons:
    from datatrove.data import Document

    reasons = []
    for text in texts:
        document, reason = Document(text=text, id=""), ""
        for name in names:
            verdict = filters()[name].filter(document)
            if verdict is not True:
                reason = verdict[1]
                break
        reasons.append(reason)
    return reasons


TOOLS: dict[str, tuple[Callable[[Sequence[str], Sequence[str]], Reasons], int]] = {
    "datatrove": (datatrove, 1),
    "perennial": (perennial, REPEATS),
}


def warm(tool: str) -> None:
    for names in MEASURED.values():
        TOOLS[tool][0](names, ["A sentence[1] of words, to load what is loaded at the first of them. " * 9])


def on_one(tool: str, names: Sequence[str], texts: Sequence[str]) -> tuple[float, Reasons]:
    judge, repeats = TOOLS[tool]
    seconds = []
    for _ in range(repeats):
        begin = time.process_time()
        reasons = judge(names, texts)
        seconds.append(time.process_time() - begin)
    return min(seconds), reasons


def _judge(job: tuple[str, Sequence[str], Sequence[str]]) -> None:
    TOOLS[job[0]][0](job[1], job[2])


def _wait(tool: str) -> None:
    warm(tool)
    time.sleep(0.5)  # so that no process takes the warming of another


def on_all(tool: str, texts: Sequence[str], cores: int) -> dict[str, float]:
    """Seconds for each measured chain, with one process for each core."""
    shares = [texts[first::cores] for first in range(cores)]
    found = {}
    with ProcessPoolExecutor(cores, get_context("spawn")) as pool:
        list(pool.map(_wait, [tool] * cores))
        for name, names in MEASURED.items():
            seconds = []
            for _ in range(TOOLS[tool][1]):
                begin = time.perf_counter()
                list(pool.map(_judge, [(tool, names, share) for share in shares]))
                seconds.append(time.perf_counter() - begin)
            found[name] = min(seconds)
    return found


def compile_seconds() -> dict[str, float]:
    """What the first call costs in a fresh clone, and in any later process."""
    code = "import time; from benchmarks.curation.rules import warm; t = time.process_time(); warm('perennial'); "
    code += "print(time.process_time() - t)"
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {"NUMBA_CACHE_DIR": folder}
        words = [sys.executable, "-c", code]
        taken = [
            float(subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout)
            for _ in range(2)
        ]
    return {"compiled": taken[0], "loaded": taken[1]}


def some_texts(files: Sequence[Path], documents: int) -> tuple[str, list[str]]:
    """Evenly drawn documents, and what they are: the files', or else what the installed packages say of themselves."""
    texts = []
    for path in files:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            texts += [json.loads(line)["text"] for line in lines]
    name = ", ".join(path.name for path in files)
    if not files:
        from pydoc_data.topics import topics

        found = [str(one.metadata.get_payload() or "") for one in importlib.metadata.distributions()]
        texts = [*topics.values(), *sorted(text for text in found if len(text) > 200)]
        name = "Python's topics and the descriptions of the installed packages"
    return name, texts[:: max(1, len(texts) // documents)][:documents]


def measure(texts: Sequence[str]) -> dict[str, Any]:
    """Seconds for each tool and rule, on one core and on all; where the verdicts differ."""
    cores = sorted(os.sched_getaffinity(0))
    one: dict[str, dict[str, float]] = {}
    reasons: dict[str, dict[str, Reasons]] = {}
    os.sched_setaffinity(0, cores[:1])
    for tool in TOOLS:
        warm(tool)
        runs = {name: on_one(tool, names, texts) for name, names in MEASURED.items()}
        one[tool] = {name: seconds for name, (seconds, _) in runs.items()}
        reasons[tool] = {name: found for name, (_, found) in runs.items()}
    os.sched_setaffinity(0, cores)
    differ = {
        name: sum(a != b for a, b in zip(*(found[name] for found in reasons.values()), strict=True))
        for name in MEASURED
    }
    every = {tool: on_all(tool, texts, len(cores)) for tool in TOOLS}
    return {"cores": len(cores), "one": one, "all": every, "differ": differ, "numba": compile_seconds()}


def table(measured: dict[str, Any], documents: int, megabytes: float) -> str:
    lines = []
    for where, title in (("one", "one core"), ("all", f"{measured['cores']} cores")):
        lines.append(f"\n{title:20}{'datatrove':>22}{'perennial':>22}{'ratio':>9}{'other verdicts':>16}")
        lines.append(f"{'':20}{'documents/s':>13}{'MB/s':>9}{'documents/s':>13}{'MB/s':>9}")
        for name in MEASURED:
            theirs, ours = (measured[where][tool][name] for tool in TOOLS)
            cells = "".join(f"{documents / seconds:13,.0f}{megabytes / seconds:9.2f}" for seconds in (theirs, ours))
            lines.append(f"{name:20}{cells}{theirs / ours:9.0f}{measured['differ'][name]:16d}")
    numba = measured["numba"]
    lines.append(
        f"\nnumba: {numba['compiled']:.1f} s to compile in a fresh clone, {numba['loaded']:.1f} s to load later"
    )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, default=[CORPUS] if CORPUS.exists() else [])
    parser.add_argument(
        "--documents", type=int, default=1000, help="so many, evenly drawn; datatrove's chain does 30/s"
    )
    parser.add_argument("--json", action="store_true", help="figures as JSON")
    options = parser.parse_args()
    if importlib.util.find_spec("datatrove") is None:
        parser.error("datatrove is not installed: run `make bench-curation`, which installs it")
    name, texts = some_texts(options.files, options.documents)
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    measured = measure(texts)
    if options.json:
        print(json.dumps({"texts": name, "documents": len(texts), "megabytes": megabytes, **measured}))
        return
    print(f"{len(texts):,} documents, {megabytes:.2f} MB: {name}")
    print(table(measured, len(texts), megabytes))


if __name__ == "__main__":
    main()
