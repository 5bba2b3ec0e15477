"""The four rule sets give datatrove's verdicts, on the general and the dirty files of the development corpora."""

import gzip
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from steps.core.texts import Texts
from steps.methods.quality import Quality
from steps.methods.quality.c4 import C4
from steps.methods.quality.fineweb import Fineweb
from steps.methods.quality.gopher_quality import GopherQuality
from steps.methods.quality.gopher_repetition import GopherRepetition

CORPORA = Path(__file__).resolve().parents[5] / "shared" / "corpora"
FILES = sorted(path for kind in ("general", "dirty") for path in CORPORA.glob(f"{kind}*.jsonl.gz"))

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),  # datatrove judges about 30 documents a second
    pytest.mark.skipif(not FILES, reason="the development corpora are not in this checkout"),
]

CHAIN: dict[str, Quality] = {  # in FineWeb's order
    "gopher-repetition": GopherRepetition(),
    "gopher-quality": GopherQuality(),
    "c4": C4(filter_no_terminal_punct=False),
    "fineweb": Fineweb(),
}


def theirs() -> dict[str, Any]:
    filters = pytest.importorskip("datatrove.pipeline.filters", reason="datatrove is absent: make test-all installs it")
    return {
        "gopher-repetition": filters.GopherRepetitionFilter(),
        "gopher-quality": filters.GopherQualityFilter(),
        "c4": filters.C4QualityFilter(filter_no_terminal_punct=False),
        "fineweb": filters.FineWebQualityFilter(),
    }


def reason_of(rule: Any, document: Any) -> str:
    """Why datatrove drops a document; empty: it does not. Edits the document's text."""
    verdict = rule.filter(document)
    return "" if verdict is True else verdict[1]


def chained(rules: Sequence[tuple[str, Any]], document: Any) -> tuple[str, str]:
    for name, rule in rules:
        reason = reason_of(rule, document)
        if reason:
            return name, reason
    return "", document.text


def ours_chained(texts: list[str]) -> Iterator[tuple[str, str]]:
    verdicts = [("", text) for text in texts]
    rows = list(range(len(texts)))
    batch = Texts(texts)
    for name, rule in CHAIN.items():
        found = rule.judge(batch, Path())
        for row, judgement in zip(rows, found, strict=True):
            if judgement.reason:
                verdicts[row] = (name, judgement.reason)
            elif judgement.text is not None:
                verdicts[row] = ("", judgement.text)
        rows = [row for row, judgement in zip(rows, found, strict=True) if not judgement.reason]
        batch = Texts([verdicts[row][1] for row in rows])
    return iter(verdicts)


@pytest.mark.parametrize("file", FILES, ids=lambda path: path.name.split(".")[0])
def test_verdicts_and_reasons_are_datatroves(file: Path) -> None:
    document_class = pytest.importorskip(
        "datatrove.data", reason="datatrove is absent: make test-all installs it"
    ).Document
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in lines]
    rules = theirs()
    ours = {name: [judgement.reason for judgement in rule.judge(Texts(texts), Path())] for name, rule in CHAIN.items()}
    differences: dict[str, list[tuple[int, str, str]]] = {name: [] for name in (*CHAIN, "chain", "text")}
    for row, (text, of_chain) in enumerate(zip(texts, ours_chained(texts), strict=True)):
        for name, rule in rules.items():
            reason = reason_of(rule, document_class(text=text, id=""))
            if reason != ours[name][row]:
                differences[name].append((row, reason, ours[name][row]))
        wanted = chained(list(rules.items()), document_class(text=text, id=""))
        if wanted != of_chain:
            differences["chain" if wanted[0] or of_chain[0] else "text"].append((row, wanted[1][:80], of_chain[1][:80]))
    for name, found in differences.items():
        verdicts = sum(bool(wanted) != bool(got) for _, wanted, got in found)
        assert verdicts <= 0.005 * len(texts), f"{name}: other verdicts than datatrove's: {found[:20]}"
        assert len(found) <= 0.01 * len(texts), f"{name}: other reasons than datatrove's: {found[:20]}"
