"""docs/chaos.md: what was broken, and what came of it."""

import statistics
from collections.abc import Sequence
from pathlib import Path

from benchmarks.chaos.faults import Case
from benchmarks.chaos.results import Result

HEAD = """# What breaks, and what is lost

Written by `make chaos` (seed {seed}). Each line is a refresh of a real service (Prefect's server, MLflow's server, the
process that serves the deployment, the watcher) that was broken in one way. After each: the champion's weights load and
have the digest that the registry names, and `champion` moved only to accepted versions; landed = kept + held out +
dropped + quarantined + superseded for every task of every version; every batch was consumed exactly once on the
champion's line, every attempt has one end in the ledger and at most one verdict; verdicts, counts and weights equal,
bit for bit, those of a workspace that took the same deliveries with nothing in the way; nothing is left RUNNING in
Prefect or MLflow, and `perennial down` leaves no process.

**How to read it.** *Recovered* is the time from the end of the fault to the last verdict that it delayed, the refresh
itself included; 0 where the case had to see that verdict while the fault lasted. *By itself* means that nobody did
anything; a command means that a person has to type that one. `ok` means that every check above held.

{summary}

| case | what was broken | what happened | recovery | recovered | outcome |
|---|---|---|---|---|---|
"""


def write_report(path: Path, seed: int, results: Sequence[Result], everything: Sequence[Case]) -> None:
    """The report of all that ran with a seed."""
    ran = [one for one in results if not one.skipped and one.name != "down"]
    lost, skipped = [one for one in ran if one.problems], [one for one in results if one.skipped]
    missing = [case.name for case in everything if case.name not in {one.name for one in results}]
    kills = sum(one.kills for one in ran)
    good = len(ran) - len(lost)
    lines = [f"{len(ran)} cases ran, SIGKILL at {kills} moments among them: {good} lost nothing, {len(lost)} did."]
    if skipped:
        lines.append(f"Skipped: {'; '.join(f'{one.name} ({one.skipped})' for one in skipped)}.")
    if missing:
        lines.append(f"Not run: {', '.join(missing)}.")
    times = [one.recovered_seconds for one in ran if not one.problems]
    if times:
        lines.append(f"Recovered in {statistics.median(times):.0f} s (median), at most {max(times):.0f} s.")
    text = HEAD.format(seed=seed, summary="\n".join(lines))
    for one in sorted(results, key=lambda one: one.name):
        outcome = "skipped" if one.skipped else "; ".join(one.problems) or "ok"
        cells = (one.name, one.what, one.happened, one.recovery, f"{one.recovered_seconds:.0f} s", outcome)
        text += "| " + " | ".join(cell.replace("|", "¦").replace("\n", " ") for cell in cells) + " |\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
