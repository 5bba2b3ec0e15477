"""What a training step costs: this engine beside a bare torch loop, transformers.Trainer and trl.SFTTrainer.

`python -m benchmarks.training` trains one model on the same packed blocks in each of them, with the same batch,
precision and optimiser, all weights and LoRA, every run in a process of its own and in rounds, and then each method of
the slots params, objective and optimizer in this engine. It tells tokens per second and peak memory, as ratios within
a round (the median over rounds): what a neighbour does to the machine, it does to all. Weights and tokens are random:
they cost what trained ones cost. On a GPU it also tells the share of the card's peak that the model's arithmetic uses.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks.training_runs import Setting, child, furnish

ROOT = Path(__file__).resolve().parents[1]
PEERS = ("bare", "trainer", "trl")
KNOBS: dict[str, dict[str, Any]] = {  # of methods that ask for some, by slot/method
    "params/layers": {"train": ["*.mlp.*"]},
    "params/peft": {"tuner": "IA3"},
    "optimizer/meta-replay": {"interpolation": 0.5, "interval_steps": 2},
}
SWITCHES: dict[str, dict[str, Any]] = {  # knobs of the section `train` that only change how it computes
    "train/gradient-checkpointing": {"gradient_checkpointing": True},
    "train/compile": {"compile": True},  # compiled in the steps that are not timed
    "train/eager-attention": {"attention": "eager"},
}


def main() -> None:
    """What the command line says."""
    options = arguments()
    if options.child:
        print(json.dumps(child(Setting(**json.loads(options.child)))))
        return
    if options.read:
        rows = [json.loads(line) for path in options.read for line in path.read_text(encoding="utf-8").splitlines()]
    else:
        rows = list(run(options))
    report(rows, options)
    if options.json:
        options.json.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    if options.costs:
        options.costs.write_text(json.dumps(costs(rows), indent=2, sort_keys=True) + "\n", encoding="utf-8")


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", choices=("tiny", "small", "135m", "1b"), default="small", help="a Llama's shape")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: a GPU if there is one")
    parser.add_argument("--only", nargs="+", help="names of runs: bare, trainer, trl, methods, params/lora ...")
    parser.add_argument("--params", nargs="+", choices=("full", "lora"), default=["full", "lora"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--warm", type=int, default=2, help="steps before those that are timed")
    parser.add_argument("--steps", type=int, default=10, help="steps that are timed")
    parser.add_argument("--block-tokens", type=int, default=256)
    parser.add_argument("--per-step", type=int, default=4, help="blocks of an optimiser step")
    parser.add_argument("--micro", type=int, default=4, help="blocks computed at once")
    parser.add_argument("--fused", action=argparse.BooleanOptionalAction, default=True, help="AdamW's kernel, for all")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: where neighbours are busy")
    parser.add_argument("--knobs", type=json.loads, default={}, help="more of the section `train`, as JSON, for ours")
    parser.add_argument("--json", type=Path, help="file for all figures, a line each")
    parser.add_argument("--costs", type=Path, help="file for what methods cost: docs/methods-measured.json")
    parser.add_argument("--read", type=Path, nargs="+", help="files of --json: only tell what earlier runs gave")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    return parser.parse_args(words)


def run(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """The figures of every run, round by round."""
    import torch

    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as folder:
        shape = {
            "folder": folder,
            "device": device,
            "block_tokens": options.block_tokens,
            "per_step": options.per_step,
            "micro": options.micro,
            "warm": options.warm,
            "steps": options.steps,
            "fused": options.fused,
            "clock": options.clock,
        }
        settings = [Setting(**shape, **each) for each in entries(options)]
        furnish(settings[0], options.model)
        for number in range(options.rounds):
            for setting in settings:
                yield {"round": number, **measured(setting)}


def entries(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Name, params and knobs of the runs that are wanted; plain training always, to compare with."""
    wanted = set(options.only or ["ours", *PEERS, "methods"])
    for params in options.params:
        yield {"name": "ours", "params": params, "knobs": options.knobs}
        for peer in PEERS:
            if peer in wanted:
                yield {"name": peer, "params": params, "knobs": {}}
    for name, knobs in SWITCHES.items():
        if wanted & {name, "methods"}:
            yield {"name": name, "params": "full", "knobs": {**options.knobs, **knobs}}
    for slot, method in methods():
        name = f"{slot}/{method}"
        if wanted & {name, "methods"}:
            section = {"method": method, **KNOBS.get(name, {})}
            yield {"name": name, "params": "full", "knobs": {**options.knobs, slot: section}}


def methods() -> Iterator[tuple[str, str]]:
    """Slot and name of every method but plain training's."""
    from steps.core.method import method_names

    plain = {("params", "full"), ("objective", "next-token"), ("optimizer", "adamw")}
    for slot in ("params", "objective", "optimizer"):
        yield from ((slot, name) for name in method_names(slot) if (slot, name) not in plain)


def measured(setting: Setting) -> dict[str, Any]:
    """The figures of a run in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.training", "--child", json.dumps(setting._asdict())]
    away = {"HF_HUB_OFFLINE": "1", "HF_HOME": f"{setting.folder}/hf", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **away}, capture_output=True, text=True, check=False)
    facts = {"name": setting.name, "params": setting.params}
    if done.returncode:
        said = [line for line in done.stderr.splitlines() if line.strip()]
        print(f"{setting.name}: {said[-1] if said else done.returncode}", file=sys.stderr, flush=True)
        return {**facts, "failed": said[-1] if said else str(done.returncode)}
    found = {**facts, **json.loads(done.stdout.splitlines()[-1])}
    pace = f"{found['tokens_per_second']:8.0f} tokens/s  {found['peak_mb']:7.0f} MB"
    print(f"{setting.name:24} {setting.params:5} {pace}", file=sys.stderr, flush=True)
    return found


class Ratio(NamedTuple):
    """Of a run to plain training in this engine, in the median over rounds."""

    speed: float
    memory: float


def ratios(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], Ratio]:
    """By name and weights; rounds are told apart by their number."""
    done = [row for row in rows if "failed" not in row]
    plain = {(row["round"], row["params"]): row for row in done if row["name"] == "ours"}
    pairs: dict[tuple[str, str], list[Ratio]] = {}
    for row in done:
        base = plain.get((row["round"], row["params"]))
        if base:
            speed, memory = (row[key] / base[key] for key in ("tokens_per_second", "peak_mb"))
            pairs.setdefault((row["name"], row["params"]), []).append(Ratio(speed, memory))
    return {key: Ratio(*map(statistics.median, zip(*each, strict=True))) for key, each in pairs.items()}


def costs(rows: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """Time and memory of each method as multiples of plain training's, for the page of methods."""
    return {
        name: {"time": round(1 / ratio.speed, 2), "memory": round(ratio.memory, 2)}
        for (name, _), ratio in ratios(rows).items()
        if "/" in name and name not in SWITCHES
    }


def report(rows: Sequence[Mapping[str, Any]], options: argparse.Namespace) -> None:
    """Two tables: beside the peers, and what each method costs."""
    if not options.read:
        print(
            f"\n{options.model}, {options.per_step} blocks of {options.block_tokens} tokens a step, {options.micro} at "
            f"once, AdamW {'fused' if options.fused else 'not fused'}, {os.environ.get('OMP_NUM_THREADS', 'all')} "
            f"threads, median of {options.rounds} rounds of {options.steps} steps, {options.clock} time"
        )
    for title, of_peers in (("beside others", True), ("what a method costs", False)):
        found = {key: ratio for key, ratio in ratios(rows).items() if ("/" not in key[0]) == of_peers}
        if not found:
            continue
        pace = "speed, ours = 1" if of_peers else "time, plain = 1"
        print(f"\n{title}\n\n| run | weights | tokens/s | peak MB | {pace} | memory, ours = 1 | MFU |\n|{'---|' * 7}")
        for (name, params), ratio in found.items():
            mine = [row for row in rows if (row["name"], row["params"]) == (name, params) and "failed" not in row]
            tokens, peak = (statistics.median(row[key] for row in mine) for key in ("tokens_per_second", "peak_mb"))
            mfu = f"{100 * mine[0]['mfu']:.0f} %" if mine[0].get("mfu") else "-"
            cost = ratio.speed if of_peers else 1 / ratio.speed
            print(f"| {name} | {params} | {tokens:,.0f} | {peak:,.0f} | {cost:.2f} | {ratio.memory:.2f} | {mfu} |")
    for name, said in {row["name"]: row["failed"] for row in rows if "failed" in row}.items():
        print(f"\n{name} did not run: {said}")


if __name__ == "__main__":
    main()
