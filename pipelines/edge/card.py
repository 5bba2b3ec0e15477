"""The model card of a version: what it was trained on, how, what it gained and lost, how to load it; in Markdown."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from pipelines.edge.facts import Facts
from pipelines.edge.outcome import TaskRow
from pipelines.edge.reports import table
from steps.core.artifacts import Comparison

NAME = "README.md"  # what hubs show
SHOWN_ANCESTORS = 10
HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*$")
LANGUAGE = re.compile(r"^[a-z]{2,3}$")
NOT_STATED = "not stated"
# identifiers that the Hugging Face hub knows (its page "Licenses"; recalled): SPDX's in small letters
KNOWN = """
apache-2.0 mit bsd bsd-2-clause bsd-3-clause bsl-1.0 isc zlib unlicense wtfpl ncsa postgresql afl-3.0 artistic-2.0
cc0-1.0 cc-by-2.0 cc-by-2.5 cc-by-3.0 cc-by-4.0 cc-by-sa-3.0 cc-by-sa-4.0 cc-by-nc-2.0 cc-by-nc-3.0 cc-by-nc-4.0
cc-by-nd-4.0 cc-by-nc-nd-3.0 cc-by-nc-nd-4.0 cc-by-nc-sa-2.0 cc-by-nc-sa-3.0 cc-by-nc-sa-4.0
gpl-2.0 gpl-3.0 lgpl-2.1 lgpl-3.0 agpl-3.0 mpl-2.0 epl-2.0 eupl-1.1 eupl-1.2 ecl-2.0 ms-pl osl-3.0 gfdl
odc-by odbl pddl openrail bigscience-openrail-m gemma llama2 llama3 llama3.1 llama3.2 llama3.3
"""
HUB_LICENCES = frozenset(KNOWN.split())


def render(facts: Facts) -> str:
    """The card: what hubs read in front, then what people read."""
    head = yaml.safe_dump(front_matter(facts), sort_keys=False, allow_unicode=True)
    return f"---\n{head}---\n\n{body(facts)}"


def front_matter(facts: Facts) -> dict[str, Any]:
    """What hubs read. Only what is known is stated: a licence only where base and every text have the same."""
    found: dict[str, Any] = {"library_name": "transformers", "pipeline_tag": "text-generation"}
    languages = [code for code in facts.sources.languages if LANGUAGE.match(code)] if facts.sources else []
    if languages:
        found["language"] = languages
    found |= _licence(facts)
    name = facts.base.partition("@")[0]
    if HUB_ID.match(name):
        found |= {"base_model": [name], "base_model_relation": "finetune"}
    if facts.sources and facts.sources.datasets:
        found["datasets"] = list(facts.sources.datasets)
    return found | {"tags": ["perennial", "continual-pretraining"]}


def _licence(facts: Facts) -> dict[str, str]:
    sources = facts.sources
    every = {facts.base_licence, *(sources.licences if sources else [""])}
    only = next(iter(every)) if len(every) == 1 and sources and sources.whole else ""
    if only.lower() in HUB_LICENCES:
        return {"license": only.lower()}
    return {"license": "other", "license_name": "see-the-licences-below"}


def body(facts: Facts) -> str:
    """The card without what hubs read."""
    parts = [
        f"# {facts.line}, version {facts.version}",
        _summary(facts),
        "## How to load it\n\n" + _loading(facts),
        "## Gained and lost\n\n" + _metrics(facts),
        "## Known losses\n\n" + "\n".join(f"- {line}" for line in known_losses(facts)),
        "## Verdict\n\n" + _verdict(facts),
        "## Trained on\n\n" + _trained(facts),
        "## Licences\n\n" + _licences(facts),
        "## Data\n\n" + _data(facts),
        "## Recipe\n\n" + _recipe(facts),
        "## Where it comes from\n\n" + _chain(facts),
    ]
    return "\n\n".join(parts) + "\n"


def _summary(facts: Facts) -> str:
    made = "the base model" if facts.parent == "base" else f"version {facts.parent}"
    size = f"{facts.num_parameters:,} parameters" if facts.num_parameters else "size not recorded"
    tokens = f", on {facts.outcome.tokens:,} loss tokens" if facts.outcome else ""
    return (
        f"A causal language model of {size}, trained on from {made} by perennial{tokens}; {facts.created[:10]}. "
        f"The line began with `{facts.base or 'an unknown base'}`."
    )


def _loading(facts: Facts) -> str:
    return (
        "From a folder that `perennial export` wrote, or the repository that it was pushed to:\n\n"
        "```python\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'folder = "."\n'
        "model = AutoModelForCausalLM.from_pretrained(folder)\n"
        "tokenizer = AutoTokenizer.from_pretrained(folder)\n"
        "```\n\n"
        f'From the registry: `mlflow.pyfunc.load_model("models:/{facts.line}/{facts.version}")`. '
        f"Digest of weights, tokenizer and configuration: `{facts.weights}`."
    )


def _metrics(facts: Facts) -> str:
    outcome = facts.outcome
    if outcome is None:
        return "Not recorded."
    head = ("task", "before", "after", "change [95 % interval]", "items", "")
    rows = (
        (r.task, _number(r.before), _number(r.after), _change(r), f"{r.num_items:,}", _word(r)) for r in outcome.rows
    )
    text = "Loss on held-out text of each task, nats per token; lower is better. Before: the parent.\n\n"
    suites = [
        (each.task, _reference(each.against), _amount(each), f"{each.num_items:,}")
        for each in outcome.comparisons
        if each.scope == "suite"
    ]
    text += table(head, rows)
    if suites:
        told = "Suites of questions, as the gate compared them; a positive change is a loss.\n\n"
        text += "\n\n" + told + table(("suite", "against", "change [95 % interval]", "questions"), suites)
    return text


def known_losses(facts: Facts) -> list[str]:
    """What it does worse, and what it was not taught though it had landed, in sentences; never empty."""
    outcome = facts.outcome
    if outcome is None:
        return ["not recorded"]
    found = [
        f"{row.task}: worse than its parent by {row.change:.3f} nats per token [{row.low:.3f}, {row.high:.3f}]"
        for row in outcome.rows
        if row.change is not None and row.low is not None and row.low > 0
    ]
    found += [
        f"{each.task}: worse than {_reference(each.against)} by {_amount(each)}"
        for each in outcome.comparisons
        if each.low > 0 and (each.against != "champion" or each.scope == "suite")
    ]
    found += [
        f"{row.task}: not known to be no worse: {row.change:+.3f} nats per token [{row.low:+.3f}, {row.high:+.3f}]"
        for row in outcome.rows
        if row.change is not None and row.low is not None and row.high is not None and row.low <= 0 < row.high
    ]
    for row in outcome.rows:
        if row.held:
            found.append(f"{row.task}: its batches were held ({row.held}); nothing of them was learned")
        away = [f"{count:,} {reason}" for reason, count in sorted(row.dropped.items()) if count]
        if away:
            found.append(f"{row.task}: dropped, of {row.landed:,} landed records: {', '.join(away)}")
        aside = [f"{count:,} {reason}" for reason, count in sorted(row.quarantined.items()) if count]
        if aside:
            found.append(f"{row.task}: quarantined, of {row.landed:,} landed records: {', '.join(aside)}")
    if facts.forgotten:
        found.append(f"documents were forgotten since ({facts.forgotten}): its weights may still hold them")
    return found or ["none is known: no task's interval lies above zero, and nothing was held, dropped or quarantined"]


def _reference(name: str) -> str:
    return "its parent" if name == "champion" else name


def _amount(each: Comparison) -> str:
    digits, unit = (3, "nats per token") if each.unit == "nats" else (1, "points")
    return f"{each.change:.{digits}f} {unit} [{each.low:.{digits}f}, {each.high:.{digits}f}]"


def _verdict(facts: Facts) -> str:
    outcome = facts.outcome
    now = f"**{facts.verdict.capitalize() or 'Not judged'}.**"
    if outcome is None:
        return now
    was = "" if outcome.kind == facts.verdict else f" The gate's own word was {outcome.kind}."
    reasons = "".join(f"\n- {reason}" for reason in outcome.reasons)
    return f"{now}{was}\n{reasons}" if reasons else now + was


def _trained(facts: Facts) -> str:
    sources, outcome = facts.sources, facts.outcome
    rows = {row.task: row for row in outcome.rows} if outcome else {}
    if sources is None:
        told = "Which documents were in the training set was not counted when this version was made; what was kept:\n\n"
        kept = ((r.task, f"{r.kept:,}", f"{r.achieved_tokens:,}", _hash(facts, r.task)) for r in rows.values())
        return told + table(("task", "documents kept", "loss tokens", "DVC hash of its landings"), kept)
    replayed = {task: row.achieved_replay for task, row in rows.items()}
    new = {task: row.achieved_tokens - row.achieved_replay for task, row in rows.items()}
    lines = []
    for task in dict.fromkeys([*rows, *sources.new, *sources.replayed]):
        for how, counts, tokens in (("new", sources.new, new), ("replayed", sources.replayed, replayed)):
            if found := counts.get(task):
                achieved = f"{tokens[task]:,}" if task in tokens else "–"
                lines.append((task, how, f"{sum(found.values()):,}", achieved, _counted(found), _hash(facts, task)))
    head = ("task", "as", "documents", "loss tokens", "licences", "DVC hash of its landings")
    return "Documents in the training set of this version:\n\n" + table(head, lines)


def _counted(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{count:,} {licence or NOT_STATED}" for licence, count in counts.items())


def _hash(facts: Facts, task: str) -> str:
    return f"`{facts.landings[task]}`" if task in facts.landings else "–"


def _licences(facts: Facts) -> str:
    sources = facts.sources
    lines = [("the base", facts.base or "–", facts.base_licence or NOT_STATED)]
    if sources:
        lines += [(task, "learned by the line so far", _counted(counts)) for task, counts in sources.line.items()]
        for task, found in sources.line_replayed.items():
            if task not in sources.line:
                lines.append((task, "only replayed", ", ".join(name or NOT_STATED for name in found)))
    told = "Of the base and of all text that this line trained on, as its sources state them, documents counted. "
    told += "No licence of the weights follows from them by itself.\n\n"
    if sources is None or not sources.whole:
        told += "Versions before this count began are not in it.\n\n"
    return told + table(("what", "how", "licences"), lines)


def _data(facts: Facts) -> str:
    outcome = facts.outcome
    if outcome is None:
        return "Not recorded."
    head = ("task", "batches", "landed", "kept", "held out", "dropped", "quarantined", "superseded")
    lines = (
        (
            row.task,
            ", ".join(f"`{name}`" for name in (facts.batches or {}).get(row.task, ())) or "none new",
            f"{row.landed:,}",
            f"{row.kept:,}",
            f"{row.held_out:,}",
            f"{sum(row.dropped.values()):,}",
            f"{sum(row.quarantined.values()):,}",
            f"{row.superseded:,}",
        )
        for row in outcome.rows
    )
    return "Records of the batches that came with this version.\n\n" + table(head, lines)


def _recipe(facts: Facts) -> str:
    head = f"`{facts.recipe_name}`, seed {facts.seed}, fingerprint `{facts.fingerprint[:16]}`, code `{facts.code}`."
    if facts.recipe is None:
        return head
    text = yaml.safe_dump(facts.recipe, sort_keys=False, allow_unicode=True)
    return f"{head}\n\n<details><summary>the whole recipe</summary>\n\n```yaml\n{text}```\n\n</details>"


def _chain(facts: Facts) -> str:
    told = f"`perennial reproduce {facts.version}` rebuilds it from its lineage (MLflow run `{facts.run}`).\n\n"
    return told + table(("version", "verdict", "registered", "recipe", "weights"), _ancestors(facts))


def _ancestors(facts: Facts) -> Iterator[tuple[str, ...]]:
    own = (f"**{facts.version}**", facts.verdict, facts.created[:10], facts.recipe_name, f"`{facts.weights[:12]}`")
    yield own
    *versions, base = facts.chain
    for each in versions[:SHOWN_ANCESTORS]:
        yield each.version, each.verdict, each.created[:10], each.recipe, f"`{each.weights[:12]}`"
    if len(versions) > SHOWN_ANCESTORS:
        yield f"… {len(versions) - SHOWN_ANCESTORS} more", "", "", "", ""
    yield base.version or "base", f"licence: {facts.base_licence or NOT_STATED}", "", f"`{facts.base}`", ""


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _change(row: TaskRow) -> str:
    return "–" if row.change is None else f"{row.change:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"


def _word(row: TaskRow) -> str:
    if row.high is None or row.low is None:
        return ""
    return "gained" if row.high < 0 else "lost" if row.low > 0 else ""
