"""What readers give and cost.

`python -m benchmarks.reading html FILE` scores the main text of pages: FILE is gzipped JSON lines with a raw page
(`text`) and its article text (`reference`), such as dirty_raw_html.jsonl.gz.
`python -m benchmarks.reading size jsonl|parquet GB` measures time and memory on a file of that size.
"""

import gzip
import json
import multiprocessing
import re
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from steps.core.method import load_method
from steps.methods.reader import Record

SHINGLE_WORDS = 4
TEXT = " ".join(f"word{number * 7919 % 100_003}" for number in range(400))


def shingles(text: str) -> Counter[tuple[str, ...]]:
    words = re.findall(r"\w+", text)
    return Counter(tuple(words[i : i + SHINGLE_WORDS]) for i in range(max(1, len(words) - SHINGLE_WORDS + 1)))


def score(found: str, wanted: str) -> tuple[float, float, float]:
    """F1, precision and recall over shingles of words."""
    ours, theirs = shingles(found), shingles(wanted)
    same = sum((ours & theirs).values())
    return 2 * same / (ours.total() + theirs.total()), same / ours.total(), same / theirs.total()


def html(pages: Path) -> None:
    reader: Any = load_method("reader", "html")()
    scores: dict[str, list[tuple[float, float, float]]] = {"as read": [], "without the title": []}
    begin = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder, gzip.open(pages) as lines:
        for line in lines:
            row = json.loads(line)
            file = Path(folder) / "page.html"
            file.write_text(row["text"], encoding="utf-8")
            (found,) = reader.read(file, file.name)
            text = found.text if isinstance(found, Record) else ""
            scores["as read"].append(score(text, row["reference"]))
            scores["without the title"].append(score(text.partition("\n\n")[2] or text, row["reference"]))
    print(f"{len(scores['as read'])} pages, {time.perf_counter() - begin:.1f} s")
    for name, each in scores.items():
        means = [sum(part) / len(each) for part in zip(*each, strict=True)]
        print(f"{name:18} F1 {means[0]:.3f}  precision {means[1]:.3f}  recall {means[2]:.3f}")


def write(kind: str, file: Path, num_bytes: float) -> None:
    if kind == "jsonl":
        with file.open("w") as out:
            number = 0
            while out.tell() < num_bytes:
                out.writelines(
                    f'{{"id": "{number + each}", "text": "{number + each} {TEXT}"}}\n' for each in range(1000)
                )
                number += 1000
        return
    import pyarrow
    import pyarrow.parquet

    schema = pyarrow.schema([("text", pyarrow.string())])
    with pyarrow.parquet.ParquetWriter(file, schema, compression=None, use_dictionary=False) as writer:
        number = 0
        while file.stat().st_size < num_bytes:
            texts = [f"{number + each} {TEXT}" for each in range(20_000)]
            writer.write_table(pyarrow.table({"text": texts}, schema=schema))
            number += 20_000


def size(kind: str, gigabytes: float) -> None:
    reader: Any = load_method("reader", kind)()
    me = psutil.Process()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"large.{kind}"
        writing = multiprocessing.get_context("spawn").Process(target=write, args=(kind, file, gigabytes * 1e9))
        writing.start()  # its memory is not counted
        writing.join()
        before, begin, most, number = me.memory_info().rss, time.perf_counter(), 0, 0
        for number, _ in enumerate(reader.read(file, file.name), start=1):
            if number % 10_000 == 0:
                most = max(most, sum(one.memory_info().rss for one in (me, *me.children())))
        taken = time.perf_counter() - begin
        print(f"{kind}: {file.stat().st_size / 1e9:.2f} GB, {number:,} records, {taken:.0f} s")
        print(f"memory at most {most / 1e6:.0f} MB, of which {before / 1e6:.0f} MB before the first record")


if __name__ == "__main__":
    if sys.argv[1:2] == ["html"]:
        html(Path(sys.argv[2]))
    else:
        size(sys.argv[2], float(sys.argv[3]))
