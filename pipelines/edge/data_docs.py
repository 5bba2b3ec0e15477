"""Data Docs: what each task's contract found in the last runs, as pages to read."""

import html
import json
import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from steps.core.artifacts import Corpus
from steps.core.shards import write_atomic, write_json

DATA_DOCS = ".perennial/data-docs"
KEEP_RUNS = 10  # per task
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


def render(root: Path, corpora: Mapping[str, Corpus]) -> Path:
    """Add a page for each corpus, drop the oldest beyond the last ten of its task; returns the index.

    A run is numbered, so that its order depends on no clock; a corpus that was rendered before gets no second page.

    Raises:
        ValueError: a corpus has no contract result.
    """
    site = root / DATA_DOCS
    for task, corpus in corpora.items():
        folder = site / task
        runs = _runs(folder)
        name = f"{corpus.digest[:12]}.html"
        if runs and runs[-1].name.endswith(name):
            continue
        number = int(runs[-1].name.split("-")[0]) + 1 if runs else 1
        page = folder / f"{number:06d}-{name}"
        result = _result(root, task, corpus)
        write_json(page.with_suffix(".json"), _summary(corpus, result))
        write_atomic(page, _page(task, corpus, result))
        for old in _runs(folder)[:-KEEP_RUNS]:
            old.unlink()
            old.with_suffix(".json").unlink(missing_ok=True)
    write_atomic(site / "index.html", _index(site))
    return site / "index.html"


def _runs(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9]*.html"))


def _result(root: Path, task: str, corpus: Corpus) -> dict[str, Any]:
    path = root / corpus.path / "contract.json"
    try:
        result: dict[str, Any] = json.loads(path.read_bytes())
    except (FileNotFoundError, ValueError) as error:
        raise ValueError(
            f"{path}: wanted what ingest wrote for {task}, found {error!r}; run the refresh again"
        ) from error
    return result


def _summary(corpus: Corpus, result: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "success": result["success"],
        "num_landed": corpus.num_landed,
        "num_documents": corpus.num_documents,
        "quarantined": corpus.quarantined,
    }


def _page(task: str, corpus: Corpus, result: Mapping[str, Any]) -> str:
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
    page = page.replace("../../../../index.html", "../index.html").replace("__none__", html.escape(task))
    return page.replace("</head>", f"<style>{STYLE}</style></head>", 1).replace(
        "<body>", f'<body><p><a href="../index.html">all runs</a> · {_counts(task, _summary(corpus, result))}</p>', 1
    )


def _escaped(value: Any) -> Any:
    """The same value with text that is safe in a page: Great Expectations writes what documents hold as it is."""
    if isinstance(value, str):
        return html.escape(value, quote=False)
    if isinstance(value, list):
        return [_escaped(one) for one in value]
    return {key: _escaped(one) for key, one in value.items()} if isinstance(value, dict) else value


def _counts(task: str, summary: Mapping[str, Any]) -> str:
    aside = ", ".join(f"{reason}: {count:,}" for reason, count in summary["quarantined"].items()) or "none"
    return html.escape(
        f"{task}: {summary['num_landed']:,} records landed, {summary['num_documents']:,} documents; set aside: {aside}"
    )


def _index(site: Path) -> str:
    rows = [
        f'<tr><td><a href="{task.name}/{page.name}">{task.name} {page.stem}</a></td>'
        f"<td>{'met' if summary['success'] else 'broken by some rows'}</td><td>{_counts(task.name, summary)}</td></tr>"
        for task in sorted(folder for folder in site.iterdir() if folder.is_dir())
        for page in reversed(_runs(task))
        for summary in [json.loads(page.with_suffix(".json").read_bytes())]
    ]
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8"><title>Data Docs</title><style>{STYLE}</style>'
        "</head><body><h1>Data Docs</h1><p>What the contracts of the tasks found, newest run of a task first.</p>"
        f"<table><tr><th>run</th><th>contract</th><th>records</th></tr>{''.join(rows)}</table></body></html>\n"
    )
