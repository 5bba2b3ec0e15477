"""The report of clean: one page that loads nothing, to see what every rule took, and whether it was right to."""

import hashlib
import heapq
import html
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipelines.edge.clean_style import STYLE
from steps.core.artifacts import Corpus, Kept
from steps.core.shards import read_lines, write_atomic
from steps.methods.privacy import masked

REPORT = ".perennial/reports/clean.html"
NUM_EXAMPLES, NUM_CLUSTERS, NUM_TWINS, NUM_LANGUAGES = 10, 10, 5, 8
KNOWN = {"unchanged": "the index", "duplicate": "said before", "near-duplicate": "dedup"}
SAME = ("duplicate", "near-duplicate")


@dataclass
class Reason:
    """Records that were dropped for one reason, and a few of them, drawn by the hashes of their keys."""

    rule: str
    count: int = 0
    drawn: list[tuple[str, int, dict[str, Any]]] = field(default_factory=list)

    def add(self, row: dict[str, Any]) -> None:
        """Count a record; keep it if its hash is among the largest."""
        self.count += 1
        entry = (hashlib.sha256(row["key"].encode("utf-8", "surrogatepass")).hexdigest(), -self.count, row)
        (heapq.heappush if len(self.drawn) < NUM_EXAMPLES else heapq.heappushpop)(self.drawn, entry)


def write_report(root: Path, kept: Kept, corpora: Mapping[str, Corpus]) -> Path:
    """Write the report of what clean made; returns its file."""
    write_atomic(root / REPORT, render(root / kept.path, kept, corpora))
    return root / REPORT


def render(folder: Path, kept: Kept, corpora: Mapping[str, Corpus]) -> str:
    """The report of what clean made in a folder; `corpora` are those of its tasks and of the tasks that it held."""
    tasks = [task for task in corpora if task in kept.kept or task in kept.held]
    places = {task: folder / "held" / task if task in kept.held else folder / task for task in tasks}
    sections = [_section(folder, places[task], corpora[task], kept.held.get(task, "")) for task in tasks]
    summary = _summary(kept, corpora, tasks)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>clean</title><style>{STYLE}</style></head><body><main><header><h1>What clean kept, and why</h1>"
        f"{summary}</header>{''.join(sections)}</main></body></html>\n"
    )


def _summary(kept: Kept, corpora: Mapping[str, Corpus], tasks: Sequence[str]) -> str:
    landed = sum(corpora[task].num_landed for task in tasks)
    whole = sum(kept.kept.values())
    rows = []
    for task in tasks:
        own, dropped = corpora[task], kept.dropped.get(task, {})
        twins = sum(count for reason, count in dropped.items() if reason in KNOWN)
        link = f'<a href="#task-{_text(task)}">{_text(task)}</a>'
        if task in kept.held:
            why = f'<td colspan="6" class="why">{_text(masked(kept.held[task]))}</td>'
            rows.append(f"<tr><th>{link}</th><td>{own.num_landed:,}</td>{why}<td>{_badge('held')}</td></tr>")
            continue
        counts = (
            sum(own.quarantined.values()),
            kept.superseded[task],
            kept.holdout.held_out.get(task, 0),
            twins,
            sum(dropped.values()) - twins,
        )
        share = kept.kept[task] / max(1, own.num_landed)
        rows.append(
            f"<tr><th>{link}</th><td>{own.num_landed:,}</td>{''.join(_count(count) for count in counts)}"
            f"<td><b>{kept.kept[task]:,}</b></td><td>{_meter(share)}</td></tr>"
        )
    names = (
        "task",
        "landed",
        "quarantined",
        "superseded",
        "held out",
        "known or twice",
        "dropped by rules",
        "kept",
        "",
    )
    told = f"{len(tasks):,} task{'s' * (len(tasks) != 1)}, {landed:,} records landed, {whole:,} kept"
    return (
        f'<p class="lead">{told}.</p><div class="wide"><table class="numbers"><thead><tr>'
        f"{''.join(f'<th>{name}</th>' for name in names)}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _section(folder: Path, place: Path, corpus: Corpus, held: str) -> str:
    task = corpus.task.name
    facts, passages = _json(place / "statistics.json"), _json(place / "passages.json")
    reasons, clusters = _dropped(place / "dropped.jsonl")
    parts = [f'<section id="task-{_text(task)}"><h2>{_text(task)} <small>{_text(corpus.task.role)}</small></h2>']
    if held:
        parts.append(
            f'<p class="held">{_badge("held")} {_text(masked(held))}. Below is what would have become of it.</p>'
        )
    parts += [
        _batch(_json(place / "batch.json")),
        _waterfall(corpus, facts["before"], passages["passages"]),
        '<div class="pair">',
        _lengths(facts["lengths"]),
        _languages(facts["languages"]),
        "</div>",
        _changes(passages["changes"]),
        _learned(_json(folder / "learned" / task / "figures.json")),
        _clusters(clusters),
        _reasons(task, reasons, corpus),
    ]
    return "".join([*parts, "</section>"])


def _dropped(path: Path) -> tuple[dict[str, Reason], dict[str, list[tuple[str, str]]]]:
    """What was dropped by reason, and the keys that say what a key says."""
    reasons: dict[str, Reason] = {}
    clusters: dict[str, list[tuple[str, str]]] = {}
    for row in read_lines(path):
        word = row["reason"]
        rule = row.get("rule") or KNOWN.get(word, "decontaminate")
        reasons.setdefault(word, Reason(rule)).add(row)
        if word in SAME:
            clusters.setdefault(row["of"], []).append((row["key"], word))
    return dict(sorted(reasons.items(), key=lambda one: (-one[1].count, one[0]))), clusters


def _waterfall(corpus: Corpus, before: list[dict[str, Any]], rules: list[dict[str, Any]]) -> str:
    """A line for each step: what it left, and what it took, as shares of what landed."""
    landed, aside = corpus.num_landed, sum(corpus.quarantined.values())
    characters = before[0]["characters"]
    steps = [("quarantined", landed - aside, characters)]
    steps += [(one["rule"], one["documents"], one["characters"]) for one in [*before[1:], *rules]]
    rows = [_step("landed", (landed, landed), (characters, characters), (landed, characters), last=True)]
    left, long = landed, characters
    for place, (name, documents, length) in enumerate(steps):
        total = (landed, characters)
        rows.append(_step(name, (left, documents), (long, length), total, rule=place >= len(before)))
        left, long = documents, length
    rows.append(_step("kept", (left, left), (long, long), (landed, characters), last=True))
    head = "<tr><th></th><th></th><th>taken</th><th>left</th><th>characters taken</th><th>left</th></tr>"
    return (
        "<h3>Where the records went</h3>"
        '<p class="note">Thick bars are records, thin bars characters; the coloured end is what a step took.</p>'
        f'<div class="wide"><table class="numbers fall"><thead>{head}</thead><tbody>{"".join(rows)}</tbody></table>'
        "</div>"
    )


def _step(
    name: str,
    documents: tuple[int, int],
    characters: tuple[int, int],
    total: tuple[int, int],
    *,
    rule: bool = False,
    last: bool = False,
) -> str:
    (before, after), (long, short) = documents, characters
    bars = "".join(
        f'<i class="{kind}"><b style="width:{_percent(min(had, left), whole)}"></b>'
        f'<u style="width:{_percent(max(0, had - left), whole)}"></u></i>'
        for kind, had, left, whole in (("thick", before, after, total[0]), ("thin", long, short, total[1]))
    )
    quiet = "end" if last else "" if before > after or long != short else "quiet"
    said = f"<code>{_text(name)}</code>" if rule else _text(name)
    taken = ("", "") if last else (_minus(before - after), _minus(long - short))
    numbers = f"<td>{taken[0]}</td><td>{after:,}</td><td>{taken[1]}</td><td>{_short(short)}</td>"
    return f'<tr class="{quiet}"><th>{said}</th><td class="bars">{bars}</td>{numbers}</tr>'


def _lengths(lengths: Mapping[str, Mapping[str, int]]) -> str:
    """Documents by the power of two that their characters reach."""
    before = {int(bin_): count for bin_, count in lengths["before"].items()}
    kept = {int(bin_): count for bin_, count in lengths["kept"].items()}
    bins = range(min([*before, *kept], default=0), max([*before, *kept], default=0) + 1)
    highest = max([1, *before.values(), *kept.values()])
    width, height = 34, 130
    bars = []
    for place, bin_ in enumerate(bins):
        x = place * width
        for kind, counts, offset in (("was", before, 3), ("is", kept, 16)):
            count = counts.get(bin_, 0)
            tall = max(1.5, count / highest * height) if count else 0
            bars.append(
                f'<rect class="{kind}" x="{x + offset}" y="{height - tall:.1f}" width="13" height="{tall:.1f}">'
                f"<title>{2**bin_:,} to {2 ** (bin_ + 1) - 1:,} characters: {count:,} {_WHEN[kind]}</title></rect>"
            )
        bars.append(f'<text x="{x + 16}" y="{height + 14}">{_power(bin_)}</text>')
    wide = max(len(bins), 6) * width
    picture = (
        f'<svg viewBox="0 0 {wide} {height + 20}" role="img" aria-label="lengths" style="max-width:{wide * 1.5}px">'
        f'<line x1="0" x2="{wide}" y1="{height}" y2="{height}"/>{"".join(bars)}</svg>'
    )
    return (
        f'<div><h3>Length</h3><p class="note">Documents by characters, from 2<sup>k</sup>. {_LEGEND}</p>{picture}</div>'
    )


def _languages(languages: Mapping[str, Mapping[str, int]]) -> str:
    before, kept = languages["before"], languages["kept"]
    totals = max(1, sum(before.values())), max(1, sum(kept.values()))
    codes = [code for code, _ in Counter(before).most_common(NUM_LANGUAGES)]
    rows = [(code, before.get(code, 0), kept.get(code, 0)) for code in codes]
    if len(before) > len(codes):
        others = [sum(counts.get(code, 0) for code in before.keys() - codes) for counts in (before, kept)]
        rows.append((f"{len(before) - len(codes)} more", others[0], others[1]))
    lines = "".join(
        f'<tr><th>{_text(code)}</th><td class="bars">'
        f'<i class="mid"><b class="was" style="width:{_percent(was, totals[0])}"></b></i>'
        f'<i class="mid"><b style="width:{_percent(now, totals[1])}"></b></i></td>'
        f"<td>{was / totals[0]:.1%}</td><td>{now / totals[1]:.1%}</td></tr>"
        for code, was, now in rows
    )
    sample = f"Of a sample of {sum(before.values()):,} documents. {_LEGEND}"
    body = f'<table class="numbers languages"><tbody>{lines}</tbody></table>' if rows else ""
    return f'<div><h3>Language</h3><p class="note">{sample}</p>{body}</div>'


def _reasons(task: str, reasons: Mapping[str, Reason], corpus: Corpus) -> str:
    aside = {word: Reason("quarantine", count) for word, count in corpus.quarantined.items()}
    most = max([1, *(one.count for one in [*reasons.values(), *aside.values()])])
    parts = []
    for word, one in [*reasons.items(), *sorted(aside.items())]:
        head = (
            f'<span class="word">{_text(word)}</span><span class="rule">{_text(one.rule)}</span>'
            f'<span class="bars"><i class="mid"><u style="width:{_percent(one.count, most)}"></u></i></span>'
            f'<span class="count">{one.count:,}</span>'
        )
        rows = [row for _, _, row in sorted(one.drawn, key=lambda entry: entry[0], reverse=True)]
        if rows:
            drawn = "all of them" if one.count <= NUM_EXAMPLES else f"{len(rows)} of {one.count:,}, drawn at random"
            examples = "".join(_example(row) for row in rows)
            parts.append(f'<details><summary>{head}</summary><p class="note">{drawn}</p><ol>{examples}</ol></details>')
        else:
            parts.append(f'<div class="flat">{head}</div>')
    shown = "".join(parts) or '<p class="note">Nothing was dropped.</p>'
    return f'<h3 id="reasons-{_text(task)}">Why records were dropped</h3><div class="reasons">{shown}</div>'


def _example(row: Mapping[str, Any]) -> str:
    """One dropped record: what was measured, against what, and the text around the offending part."""
    facts = []
    if row.get("found") is not None:
        against = "" if row.get("limit") is None else f", limit {_measure(row['limit'])}"
        facts.append(f"found <b>{_measure(row['found'])}</b>{against}")
    if row.get("of") and row["reason"] != "unchanged":
        said = "contains hold-out" if row["reason"] == "contains-holdout" else "says what is in"
        facts.append(f"{said} <code>{_text(masked(row['of']))}</code>")
    excerpt = ""
    if row.get("excerpt"):
        before, part, after = (_text(piece) for piece in row["excerpt"])
        excerpt = f"<blockquote>{before}{f'<mark>{part}</mark>' if part else ''}{after}</blockquote>"
    told = f"<span>{', '.join(facts)}</span>" if facts else ""
    return f'<li><p><code class="key">{_text(masked(row["key"]))}</code>{told}</p>{excerpt}</li>'


def _clusters(clusters: Mapping[str, Sequence[tuple[str, str]]]) -> str:
    if not clusters:
        return ""
    largest = sorted(clusters.items(), key=lambda one: (-len(one[1]), one[0]))[:NUM_CLUSTERS]
    rows = []
    for key, twins in largest:
        names = ", ".join(f"<code>{_text(masked(twin))}</code>" for twin, _ in twins[:NUM_TWINS])
        more = f" and {len(twins) - NUM_TWINS:,} more" if len(twins) > NUM_TWINS else ""
        near = sum(word == "near-duplicate" for _, word in twins)
        rows.append(
            f"<tr><th><code>{_text(masked(key))}</code></th><td>{len(twins) - near:,}</td><td>{near:,}</td>"
            f'<td class="names">{names}{more}</td></tr>'
        )
    told = f"{len(clusters):,} texts were said more than once; the largest groups, each with the key that stays."
    head = '<tr><th>stays</th><th>equal</th><th>nearly</th><th class="names">dropped</th></tr>'
    return (
        f'<h3>Duplicates</h3><p class="note">{told}</p><div class="wide"><table class="numbers">'
        f"<thead>{head}</thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _changes(changes: Mapping[str, int]) -> str:
    if not changes:
        return ""
    chips = "".join(f"<li><code>{_text(name)}</code> {count:,}</li>" for name, count in changes.items())
    return f'<h3>Mended and masked</h3><ul class="chips">{chips}</ul>'


def _learned(figures: Mapping[str, Mapping[str, float]]) -> str:
    told = {rule: own for rule, own in figures.items() if own}
    if not told:
        return ""
    chips = []
    for rule, own in told.items():
        facts = ", ".join(f"{_text(name.replace('_', ' '))} <b>{_measure(value)}</b>" for name, value in own.items())
        chips.append(f"<li><code>{_text(rule)}</code> {facts}</li>")
    return f'<h3>What rules learned</h3><ul class="chips">{"".join(chips)}</ul>'


def _batch(found: Mapping[str, Any]) -> str:
    """The batch rules, where an earlier refresh is there to compare with."""
    if not found:
        return ""
    rows = []
    for result in found["results"]:
        kwargs = result["expectation_config"]["kwargs"]
        name = kwargs["column"]
        low, high = kwargs.get("min_value"), kwargs.get("max_value")
        wanted = " to ".join("" if limit is None else _measure(limit) for limit in (low, high)).strip()
        wanted = f"at most {wanted[3:]}" if low is None else f"at least {wanted[:-3]}" if high is None else wanted
        state = _badge("met" if result["success"] else "broken")
        value = _measure(found["figures"][name])
        rows.append(
            f"<tr><th>{_text(name.replace('_', ' '))}</th><td>{value}</td><td>{wanted}</td><td>{state}</td></tr>"
        )
    head = "<tr><th>against the last accepted refresh</th><th>found</th><th>wanted</th><th></th></tr>"
    return (
        f'<h3>The batch as a whole</h3><div class="wide"><table class="numbers batch"><thead>{head}</thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


_WHEN = {"was": "before the rules", "is": "kept"}
_LEGEND = '<span class="legend was">before the rules</span> <span class="legend is">kept</span>'


def _json(path: Path) -> Any:
    return json.loads(path.read_bytes()) if path.exists() else {}


def _text(value: object) -> str:
    return html.escape(str(value))


def _percent(part: float, whole: float) -> str:
    return f"{100 * part / whole if whole else 0:.2f}%"


def _meter(share: float) -> str:
    return f'<span class="meter"><i><b style="width:{share:.2%}"></b></i>{share:.0%}</span>'


def _badge(word: str) -> str:
    return f'<span class="badge {word}">{word}</span>'


def _count(count: int) -> str:
    return f"<td{'' if count else ' class=none'}>{count:,}</td>"


def _minus(count: int) -> str:
    return f"−{_short(count)}" if count > 0 else f"+{_short(-count)}" if count < 0 else "·"


def _short(count: int) -> str:
    """A count in at most five letters: 12,345 is `12.3 k`."""
    for size, unit in ((10**9, " G"), (10**6, " M"), (10**4, " k")):
        if count >= size:
            return f"{count / (1000 if unit == ' k' else size):.{1 if count < 100 * size else 0}f}{unit}"
    return f"{count:,}"


def _power(bin_: int) -> str:
    """2^k, short: 1024 is `1k`."""
    for shift, unit in ((30, "G"), (20, "M"), (10, "k")):
        if bin_ >= shift:
            return f"{1 << (bin_ - shift)}{unit}"
    return str(1 << bin_)


def _measure(value: float) -> str:
    if float(value).is_integer():
        return f"{int(value):,}"
    return f"{value:,.3f}" if abs(value) >= 0.001 else f"{value:.2g}"
