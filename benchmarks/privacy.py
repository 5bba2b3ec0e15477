"""Personal data, languages and mojibake: how much is found, how much of it rightly, and how fast.

Run it with `make bench-privacy`; the corpora lie in ../shared/corpora. `--json` prints the figures for programs,
`--misses` the text around each error. Matches of the synthetic corpus are nobody's.
"""

import argparse
import gzip
import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
CORPORA = ROOT.parent / "shared/corpora"
CLAIMED = {  # the corpus's types that we claim to find, and our kinds
    "EMAIL_ADDRESS": "email",
    "IP_ADDRESS": "ip",
    "PHONE_NUMBER": "phone",
    "CREDIT_CARD": "card",
    "IBAN_CODE": "iban",
    "US_SSN": "us-ssn",
}
CLEAN = ("general", "domain_biomed", "domain_contracts", "domain_postgres_docs", "dirty_web_pages", "dirty_mail_spam")
ENGLISH = ("general", "domain_biomed", "domain_contracts", "domain_postgres_docs", "task_gsm8k", "task_banking77")
PLACES = (
    "en_US en_GB en_AU en_CA en_IN de_DE de_CH fr_FR fr_CH es_ES it_IT nl_NL pl_PL pt_BR sv_SE da_DK no_NO fi_FI cs_CZ "
    "ja_JP ko_KR zh_CN ru_RU tr_TR"
)
GENERATED = (  # Faker's provider, our kind, and the word that a text would have before it
    ("email", "email", "E-mail:"),
    ("ipv4_public", "ip", "IP:"),
    ("phone_number", "phone", "Phone:"),
    ("credit_card_number", "card", "Card:"),
    ("iban", "iban", "IBAN:"),
)
Row = dict[str, Any]


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--json", action="store_true", help="figures for programs")
    options.add_argument("--misses", action="store_true", help="the text around each error")
    options.add_argument("--corpora", type=Path, default=CORPORA)
    given = options.parse_args()
    figures = {
        "found": found(given.corpora, given.misses),
        "generated": generated() if find_spec("faker") else [],
        "speed": speed(given.corpora),
        "languages": languages(given.corpora),
        "mojibake": mojibake(given.corpora),
    }
    sys.stdout.write(json.dumps(figures, indent=1) + "\n" if given.json else tables(figures))


def read(folder: Path, name: str) -> list[Row]:
    """The records of a corpus."""
    return [json.loads(line) for line in gzip.decompress((folder / f"{name}.jsonl.gz").read_bytes()).splitlines()]


def timed(call: Callable[[], Any]) -> tuple[Any, float]:
    """A result and the seconds of processor time that it took."""
    begin = time.process_time()
    return call(), time.process_time() - begin


def found(folder: Path, misses: bool) -> list[Row]:
    """Precision and recall by kind: a match is right if it overlaps a marked span of its kind."""
    from steps.methods.privacy.patterns import Patterns
    from steps.methods.privacy.presidio import Presidio

    methods: dict[str, Any] = {"patterns": Patterns()}
    if find_spec("presidio_analyzer"):
        methods["presidio"] = Presidio()
    records = read(folder, "dirty_pii_synthetic")
    rows = []
    for name, method in methods.items():
        method.find(["a first time"])
        matches, seconds = timed(lambda method=method: method.find([record["text"] for record in records]))
        counts = score(records, matches, misses)
        for kind in CLAIMED.values():
            right, wrong, missed, exact = (counts[what, kind] for what in ("right", "wrong", "missed", "exact"))
            rows.append(
                {
                    "method": name,
                    "kind": kind,
                    "marked": right + missed,
                    "precision": round(right / max(1, right + wrong), 3),
                    "recall": round(right / max(1, right + missed), 3),
                    "exact": round(exact / max(1, right), 3),
                    "seconds": round(seconds, 2),
                }
            )
    return rows


def score(records: Sequence[Row], matches: Sequence[Any], misses: bool) -> Counter[tuple[str, str]]:
    """How many marked spans were found, exactly or not, and missed; how many matches are none."""
    counts: Counter[tuple[str, str]] = Counter()
    for record, each in zip(records, matches, strict=True):
        marked = [(CLAIMED[s["type"]], s["start"], s["end"]) for s in record["spans"] if s["type"] in CLAIMED]
        for kind, begin, end in marked:
            hit = any(m.kind == kind and m.begin < end and begin < m.end for m in each)
            counts["right" if hit else "missed", kind] += 1
            counts["exact", kind] += (kind, begin, end) in each
            if misses and not hit:
                sys.stderr.write(f"missed {kind}: {record['text'][max(0, begin - 40) : end + 20]!r}\n")
        for match in each:
            if not any(match.kind == kind and match.begin < end and begin < match.end for kind, begin, end in marked):
                counts["wrong", match.kind] += 1
                if misses:
                    around = record["text"][max(0, match.begin - 40) : match.end + 20]
                    sys.stderr.write(f"wrong {match.kind}: {around!r}\n")
    return counts


def generated() -> list[Row]:
    """Recall on what Faker makes in the forms of 24 places, alone and after a word that says what it is."""
    from faker import Faker

    from steps.methods.privacy.patterns import Patterns

    rows = []
    for provider, kind, word in GENERATED:
        values = []
        for place in PLACES.split():
            maker = Faker(place)
            maker.seed_instance(7)
            values += [getattr(maker, provider)() for _ in range(100)]
        row: Row = {"provider": provider, "values": len(values)}
        for name, form in (("alone", "It went to {}, I think."), ("after a word", word + " {}")):
            matches = Patterns().find([form.format(value) for value in values])
            hits = sum(any(match.kind == kind for match in each) for each in matches)
            row[name] = round(hits / len(values), 3)
        rows.append(row)
    return rows


def speed(folder: Path) -> list[Row]:
    """Megabytes (characters) a second on real text, and how many matches of each kind; of these nothing is shown."""
    from steps.core.documents import Document
    from steps.methods.privacy.patterns import Patterns
    from steps.methods.repair.characters import Characters
    from steps.methods.repair.mojibake import Mojibake

    rows = []
    facts = {"task": "t", "source": "s", "language": "en", "time": "", "licence": "", "batch": "b", "content_hash": ""}
    for name in CLEAN:
        texts = [record["text"] for record in read(folder, name)]
        documents = [Document(key="k", text=text, **facts) for text in texts]
        size = sum(map(len, texts)) / 1e6
        row: Row = {"corpus": name, "documents": len(texts)}
        matches, seconds = timed(lambda texts=texts: Patterns().find(texts))
        row["privacy"] = round(size / seconds, 1)
        for method in (Characters(), Mojibake()):
            _, seconds = timed(lambda method=method, documents=documents: method.repair(documents))
            row[method.method_name()] = round(size / seconds, 1)
        row["matches"] = dict(sorted(Counter(match.kind for each in matches for match in each).items()))
        rows.append(row)
    return rows


def languages(folder: Path) -> list[Row]:
    """The share that is told right, below FineWeb's 0.65, and documents a second."""
    from steps.core.languages import identify

    texts = {name: [(record["text"], "en") for record in read(folder, name)] for name in ENGLISH}
    handbook = {record["reference"]: record["lang"] for record in read(folder, "dirty_mojibake")}
    texts["handbook (fr, es, de)"] = list(handbook.items())
    texts["handbook, 60 characters"] = [(text[:60], code) for text, code in handbook.items()]
    rows = []
    identify(["a first time"])
    for name, pairs in texts.items():
        guessed, seconds = timed(lambda pairs=pairs: identify([text for text, _ in pairs]))
        right = sum(code == wanted for (code, _), (_, wanted) in zip(guessed, pairs, strict=True))
        low = sum(score <= 0.65 for _, score in guessed)
        row = {"corpus": name, "documents": len(pairs), "right": round(right / len(pairs), 4)}
        rows.append(row | {"not over 0.65": round(low / len(pairs), 3), "documents/s": round(len(pairs) / seconds)})
    return rows


def mojibake(folder: Path) -> list[Row]:
    """The share of paragraphs that become their reference, by damage."""
    from steps.core.documents import Document
    from steps.methods.repair.mojibake import Mojibake

    records = read(folder, "dirty_mojibake")
    facts = {"task": "t", "source": "s", "language": "en", "time": "", "licence": "", "batch": "b", "content_hash": ""}
    repaired = Mojibake().repair([Document(key="k", text=record["text"], **facts) for record in records])
    total, right = Counter(record["how"] for record in records), Counter[str]()
    right.update(r["how"] for r, one in zip(records, repaired, strict=True) if one.text == r["reference"])
    return [{"damage": how, "paragraphs": total[how], "right": right[how]} for how in sorted(total)]


def tables(figures: dict[str, list[Row]]) -> str:
    """The figures in Markdown."""
    parts = []
    for title, rows in ((title, rows) for title, rows in figures.items() if rows):
        names = list(rows[0])
        lines = ["| " + " | ".join(names) + " |", "|" + "---|" * len(names)]
        lines += ["| " + " | ".join(cell(row[name]) for name in names) + " |" for row in rows]
        parts.append(f"## {title}\n\n" + "\n".join(lines) + "\n")
    return "\n".join(parts)


def cell(value: Any) -> str:
    """A value of a table."""
    return ", ".join(f"{key} {count}" for key, count in value.items()) if isinstance(value, dict) else str(value)


if __name__ == "__main__":
    main()
