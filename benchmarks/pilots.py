"""How well short pilots predict what a ratio of new text will cost, on the small model and three kinds of text.

`python -m benchmarks.pilots` runs pilots at five ratios with five seeds for each of biomedicine, contracts and the
PostgreSQL manual against general English (folder: `--corpora`, PERENNIAL_CORPORA or ../shared/corpora). For every seed
each law is fitted to four ratios and predicts the fifth; beside it stand linear interpolation between the neighbouring
ratios, and "no change". The error is that of the predicted change, as a share of the change. Pilots that are made are
used again, so it can be stopped and goes on.
"""

import argparse
import gzip
import itertools
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import yaml

ROOT = Path(__file__).resolve().parents[1]
DOMAINS = {"biomed": "domain_biomed", "contracts": "domain_contracts", "postgres": "domain_postgres_docs"}
GENERAL = "general"
RATIOS, HELD_OUT = (0.1, 0.3, 0.5, 0.7, 0.9), 0.5  # of new text
TURNS = (0.3, 0.5, 0.7)  # held out in turn, beside the one that was named beforehand
NUM_SEEDS, FIRST_SEED = 5, 20
MOST_DOCUMENTS, MOST_CHARACTERS = 600, 8000
RECIPE: dict[str, Any] = {
    "name": "pilots",
    "seed": FIRST_SEED,
    "split": {"gate_share": 0.05, "validation_share": 0.15, "validation_items": 64, "passage_words": 50},
    "mix": {"block_tokens": 256, "blocks_per_step": 4},
    "train": {
        "params": {"method": "full"},
        "schedule": {"method": "constant"},
        "learning_rate": 2e-3,
        "micro_batch_blocks": 4,
        "precision": "float32",
        "checkpoint_steps": 1000,
        "validation_items": 24,
        "validation_tokens": 50,
    },
    "merge": {"rule": {"method": "none"}},
    "evaluate": {},
    "gate": {},
    "replay": {"buffer": {"method": "none"}},
    "pilot": {"validations": 7},
}
LAWS: dict[str, dict[str, Any]] = {  # every floor open: what a law predicts counts, trusted or not
    "critical-ratio": {"min_r2": 0.0, "epsilon": 10.0, "draws": 4},
    "domain-law": {"min_r2": 0.0, "tolerance": 10.0},
}


def texts(file: Path) -> Iterator[dict[str, str]]:
    """The first documents to train on, cut to a length at which none rules."""
    count = 0
    with gzip.open(file, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if row.get("split") == "train" and len(row["text"]) > 400:
                yield {"key": row["id"], "text": row["text"][:MOST_CHARACTERS]}
                count += 1
            if count == MOST_DOCUMENTS:
                return


def furnish(work: Path, corpora: Path, domain: str) -> Any:
    """A workspace in which the domain and general text have landed."""
    from datetime import UTC, datetime

    from pipelines.edge import landing
    from pipelines.edge.home import Home
    from pipelines.edge.workspaces import make_workspace

    home = Home(work / domain)
    if not (home.root / "data" / "tasks.yaml").exists():
        list(make_workspace(home.root))
    tasks = {domain: {"role": "train", "licence": "other"}, GENERAL: {"role": "replay-only", "licence": "other"}}
    (home.root / "data" / "tasks.yaml").write_text(yaml.safe_dump({"tasks": tasks}, sort_keys=False), encoding="utf-8")
    for task, name in ((domain, DOMAINS[domain]), (GENERAL, GENERAL)):
        if not landing.batches(home.root, task):
            path = work / f"{task}.jsonl"
            path.write_text("".join(json.dumps(row) + "\n" for row in texts(corpora / f"{name}.jsonl.gz")))
            landing.land(home.root, task, [path], now=datetime.now(UTC))
            path.unlink()
    return home


def small_model(work: Path) -> Path:
    """The folder of the small model, trained here if it is missing."""
    from pipelines.edge.workspaces import make_workspace
    from pipelines.small_model import build_small_model

    home = work / "small"
    if not (home / "data" / "tasks.yaml").exists():
        list(make_workspace(home))
    return home / build_small_model(home).path


def run(work: Path, corpora: Path, domain: str, base: Path, num_seeds: int, num_tokens: int) -> tuple[Any, Any]:
    """The pilots of a domain: the session that ran them, and what they showed."""
    from pipelines.edge.pilots import Pilots
    from pipelines.pilot import pilot
    from pipelines.recipe import Recipe
    from steps.core.method import Cite
    from steps.methods.mixture import Decision, Mixture, Pilot, Shares, Supply, Trial

    class Grid(Mixture):
        """Every ratio with every seed; nothing is learned of them together."""

        cite: ClassVar[Cite] = Cite(title="a grid", id="ours", where="this file", checked="code")

        def decide(self, supply: Supply, seed: int) -> Decision:
            raise AssertionError("no refresh is made")

        def pilots(self, supply: Supply, seed: int) -> tuple[Trial, ...]:
            new, replay = dict(supply.new), dict(supply.replay)
            return tuple(
                Trial(
                    name=f"new-{ratio}-seed-{number}",
                    shares=Shares(replay=round(1 - ratio, 9), new_weights=new, replay_weights=replay),
                    num_tokens=num_tokens,
                    held_out=ratio == HELD_OUT,
                    seed=number,
                )
                for number in range(seed, seed + num_seeds)
                for ratio in RATIOS
            )

        def learn(self, supply: Supply, pilots: Sequence[Pilot], roles: Mapping[str, str], seed: int) -> dict[str, Any]:
            return {"method": "grid"}

    started, seen = time.monotonic(), [""]

    def told(stage: str, done: int, total: int, what: str) -> None:
        if not total and what and stage == "train":
            print(f"{time.monotonic() - started:7.0f} s  {domain} {what}", file=sys.stderr, flush=True)
        seen[0] = stage

    plan = {"budget_tokens": 4 * num_tokens, "mixture": {"method": "fixed"}}
    recipe = Recipe.model_validate({**RECIPE, "base": str(base), "plan": plan})
    recipe = recipe.model_copy(update={"plan": recipe.plan.model_copy(update={"mixture": Grid()})})
    home = furnish(work, corpora, domain)
    with home.lock():
        do = Pilots(home, recipe, prefect=False, progress=told)
        return do, pilot(do)


def judge(do: Any, piloted: Any, domain: str) -> Iterator[dict[str, Any]]:
    """The held-out rows of every law and seed, each inner ratio held out in turn."""
    from steps.core.method import load_method

    seeds = sorted({each.trial.seed for each in piloted.pilots})
    for (name, knobs), seed, unseen in itertools.product(LAWS.items(), seeds, TURNS):
        ours = [held_out(each, unseen) for each in piloted.pilots if each.trial.seed == seed]
        method: Any = load_method("mixture", name).model_validate(knobs)
        facts = {"domain": domain, "law": name, "seed": seed, "held_out": unseen}
        try:
            learned = method.learn(do.supply, ours, piloted.roles, seed)
        except ValueError as error:
            yield {**facts, "refused": str(error)}
            if not hasattr(method, "foretold"):
                continue
            learned = {"checks": {"held_out": method.foretold(ours, piloted.roles, seed), "trusted": False}}
        for row in learned["checks"]["held_out"]:
            if row["task"] is None:
                yield {**facts, **row, "trusted": learned["checks"].get("trusted")}


def held_out(pilot: Any, ratio: float) -> Any:
    """The pilot, held out if it is of that ratio and fitted if not."""
    own = round(1 - pilot.trial.shares.replay, 9)
    return pilot.model_copy(update={"trial": pilot.trial.model_copy(update={"held_out": own == ratio})})


def share(rows: Sequence[Mapping[str, Any]], predicted: str) -> str:
    """Mean error as a share of the mean change; the change is small where general text hardly moves."""
    change = sum(abs(row["actual"] - row["start"]) for row in rows)
    return f"{100 * sum(abs(row[predicted] - row['actual']) for row in rows) / change:.1f} %" if change else "-"


def report(rows: Sequence[dict[str, Any]]) -> None:
    for turns in ((HELD_OUT,), TURNS):
        print(f"\nheld out: {', '.join(map(str, turns))}\n")
        table([row for row in rows if row["held_out"] in turns])


def table(rows: Sequence[dict[str, Any]]) -> None:
    print(f"| law | text | loss | runs | change | error of the law | interpolated | no change |\n|{'---|' * 8}")
    for law in LAWS:
        for domain in (*DOMAINS, "all"):
            for group in ("domain", "general"):
                mine = [
                    r for r in rows if r["law"] == law and domain in {r["domain"], "all"} and r.get("group") == group
                ]
                if not mine:
                    continue
                change = sum(row["actual"] - row["start"] for row in mine) / len(mine)
                own, linear = share(mine, "predicted"), share(mine, "interpolated")
                print(f"| {law} | {domain} | {group} | {len(mine)} | {change:+.3f} | {own} | {linear} | 100 % |")
    for row in rows:
        if "refused" in row and row["held_out"] == HELD_OUT:
            print(f"refused: {row['law']}, {row['domain']}, seed {row['seed']}: {row['refused']}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given = os.environ.get("PERENNIAL_CORPORA", str(ROOT.parent / "shared" / "corpora"))
    parser.add_argument("--corpora", type=Path, default=Path(given), help="folder of the *.jsonl.gz files")
    parser.add_argument("--work", type=Path, default=ROOT / ".perennial" / "pilots", help="workspaces, kept")
    parser.add_argument("--tokens", type=int, default=14_280, help="loss tokens of each pilot")
    parser.add_argument("--seeds", type=int, default=NUM_SEEDS)
    parser.add_argument("--domains", nargs="+", choices=DOMAINS, default=list(DOMAINS))
    parser.add_argument("--only-run", action="store_true", help="run the pilots, fit nothing")
    options = parser.parse_args()
    wanted = [options.corpora / f"{name}.jsonl.gz" for name in (*(DOMAINS[d] for d in options.domains), GENERAL)]
    if missing := [str(path) for path in wanted if not path.is_file()]:
        sys.exit(f"no such file: {', '.join(missing)}; give the folder by --corpora or PERENNIAL_CORPORA")
    options.work.mkdir(parents=True, exist_ok=True)
    from pipelines.edge.orchestration import prepare_environment

    prepare_environment(options.work / "small")
    base = small_model(options.work)
    rows: list[dict[str, Any]] = []
    for domain in options.domains:
        do, piloted = run(options.work, options.corpora, domain, base, options.seeds, options.tokens)
        if not options.only_run:
            rows += judge(do, piloted, domain)
    (options.work / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    for row in rows:
        print(json.dumps(row))
    report(rows)


if __name__ == "__main__":
    main()
