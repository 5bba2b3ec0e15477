"""Data Docs: what expectations found in the last runs: of landed data, of cleaned data, of each batch as a whole."""

import html
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

from steps.core.artifacts import Corpus, Kept
from steps.core.shards import digest_of, write_atomic, write_json
from steps.methods.privacy import masked

DATA_DOCS = ".perennial/data-docs"
ATTEMPT = ".perennial/reports/data-docs"  # its index alone; the pages are those of DATA_DOCS
SUMMARY = "summary.json"
KEEP_RUNS = 10  # per task
KINDS = {"raw": "landed data", "clean": "cleaned data", "batch": "the batch as a whole"}
STYLE = (
    "body{font-family:sans-serif;margin:2em;max-width:70em}table{border-collapse:collapse}"
    "td,th{border:1px solid #ccc;padding:.3em .6em;text-align:left;vertical-align:top}"
)
ELSEWHERE = (  # a page of a private data set loads nothing from other machines and asks for no newsletter
    re.compile(r"<script\b.*?</script>", re.DOTALL),
    re.compile(r"<link\b[^>]*>"),
    re.compile(r"<img\b[^>]*>"),
    re.compile(r"<footer\b.*?</footer>", re.DOTALL),
    re.compile(r'<a\b[^>]*href="(https?:|[^"]*expectations/)[^>]*>.*?</a>', re.DOTALL),
)


def render(root: Path, corpora: Mapping[str, Corpus], kept: Kept | None = None) -> dict[str, Path]:
    """Add a run for each corpus, drop the oldest beyond the last ten of its task; returns what belongs to these runs.

    Of the returned, each by its folder in MLflow, the first is an index of these runs alone. A run is numbered, so that
    its order depends on no clock; a run that was rendered before is not rendered again. `kept` is what clean made of
    the corpora: what the contracts of cleaned documents and the batch rules found is beside what it kept.

    Raises:
        ValueError: a corpus has no contract result.
    """
    site, runs = root / DATA_DOCS, {}
    for task, corpus in corpora.items():
        runs[task] = _run(root, site / task, task, corpus, kept)
    write_atomic(site / "index.html", _index(site, {task.name: _runs(task) for task in _folders(site)}))
    write_atomic(root / ATTEMPT / "index.html", _index(site, {task: [run] for task, run in runs.items()}))
    return {"": root / ATTEMPT / "index.html", **runs}


def _run(root: Path, folder: Path, task: str, corpus: Corpus, kept: Kept | None) -> Path:
    """The folder of a run, written if it is not there."""
    runs = _runs(folder)
    name = digest_of([corpus.digest, kept.digest if kept else "", kept.held.get(task, "") if kept else ""])[:12]
    if runs and runs[-1].name.endswith(name):
        return runs[-1]
    number = int(runs[-1].name.split("-")[0]) + 1 if runs else 1
    run = folder / f"{number:06d}-{name}"
    found = {"raw": _result(root / corpus.path / "contract.json", task)}
    if kept and task in {**kept.kept, **kept.held}:
        place = root / kept.path / ("held" if task in kept.held else "") / task
        for kind, file in (("clean", "contract.json"), ("batch", "batch.json")):
            if (place / file).exists():
                found[kind] = _result(place / file, task)
    told = {kind: result["success"] for kind, result in found.items()}
    summary = {**_counts(corpus), "met": told, "held": kept.held.get(task, "") if kept else ""}
    for kind, result in found.items():
        write_atomic(run / f"{kind}.html", _page(task, kind, summary, result))
    write_json(run / SUMMARY, summary)
    for old in _runs(folder)[:-KEEP_RUNS]:
        shutil.rmtree(old)
    return run


def _folders(site: Path) -> list[Path]:
    return sorted(folder for folder in site.iterdir() if folder.is_dir())


def _runs(folder: Path) -> list[Path]:
    return sorted(path.parent for path in folder.glob(f"[0-9]*/{SUMMARY}"))


def _result(path: Path, task: str) -> dict[str, Any]:
    try:
        result: dict[str, Any] = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(
            f"{path}: wanted what expectations found of {task}, found {error!r}; run the refresh again"
        ) from error
    return result


def _counts(corpus: Corpus) -> dict[str, Any]:
    return {
        "num_landed": corpus.num_landed,
        "num_documents": corpus.num_documents,
        "quarantined": corpus.quarantined,
    }


def _page(task: str, kind: str, summary: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    """Great Expectations' own page of one validation result, without what it would load from elsewhere."""
    from great_expectations.core.expectation_validation_result import (
        ExpectationSuiteValidationResult,
        ExpectationValidationResult,
    )
    from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer
    from great_expectations.render.view import DefaultJinjaPageView

    results = [
        ExpectationValidationResult(
            **{**one, "expectation_config": ExpectationConfiguration(**one["expectation_config"])}
        )
        for one in _escaped(result["results"])
    ]
    validation = ExpectationSuiteValidationResult(
        success=result["success"],
        results=results,
        suite_name=result["suite_name"],
        statistics=dict(result["statistics"]),
        meta={**result["meta"], "great_expectations_version": version("great-expectations"), "batch_spec": {}},
    )
    page = str(DefaultJinjaPageView().render(ValidationResultsPageRenderer().render(validation)))
    for elsewhere in ELSEWHERE:
        page = elsewhere.sub("", page)
    page = page.replace("../../../../index.html", "../../index.html").replace("__none__", html.escape(task))
    head = f'<p><a href="../../index.html">all runs</a> · <b>{KINDS[kind]}</b> · {_told(task, summary)}</p>'
    return page.replace("</head>", f"<style>{STYLE}</style></head>", 1).replace("<body>", f"<body>{head}", 1)


def _escaped(value: Any) -> Any:
    """The same value with text that is safe in a page: Great Expectations writes what documents hold as it is."""
    if isinstance(value, str):
        return html.escape(value, quote=False)
    if isinstance(value, list):
        return [_escaped(one) for one in value]
    return {key: _escaped(one) for key, one in value.items()} if isinstance(value, dict) else value


def _told(task: str, summary: Mapping[str, Any]) -> str:
    aside = ", ".join(f"{reason}: {count:,}" for reason, count in summary["quarantined"].items()) or "none"
    held = f"; held: {masked(summary['held'])}" if summary["held"] else ""
    return html.escape(
        f"{task}: {summary['num_landed']:,} records landed, {summary['num_documents']:,} documents; "
        f"set aside: {aside}{held}"
    )


def _index(site: Path, runs: Mapping[str, Sequence[Path]]) -> str:
    rows = []
    for task, own in sorted(runs.items()):
        for run in reversed(own):
            summary = json.loads((run / SUMMARY).read_bytes())
            cells = "".join(f"<td>{_link(run.relative_to(site), kind, summary)}</td>" for kind in KINDS)
            rows.append(f"<tr><td>{task} {run.name}</td>{cells}<td>{_told(task, summary)}</td></tr>")
    head = "".join(f"<th>{name}</th>" for name in ("run", *KINDS.values(), "records"))
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Data Docs</title><style>{STYLE}</style>'
        "</head><body><h1>Data Docs</h1><p>What the expectations on each task's data found, newest run of a task "
        f"first.</p><table><tr>{head}</tr>{''.join(rows)}</table></body></html>\n"
    )


def _link(run: Path, kind: str, summary: Mapping[str, Any]) -> str:
    """To a page of a run; without one, whether there is nothing to check or to compare with."""
    if kind not in summary["met"]:
        return "nothing to compare with" if kind == "batch" else "none"
    word = "met" if summary["met"][kind] else "broken" if kind == "batch" else "broken by some rows"
    return f'<a href="{run.as_posix()}/{kind}.html">{word}</a>'
