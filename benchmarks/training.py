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
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
SMALL_135M: dict[str, Any] = {  # as SmolLM2-135M
    "vocab_size": 49152,
    "hidden_size": 576,
    "intermediate_size": 1536,
    "num_hidden_layers": 30,
    "num_attention_heads": 9,
    "num_key_value_heads": 3,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}
LARGE_1B: dict[str, Any] = {  # as Llama 3.2 1B
    "vocab_size": 128256,
    "hidden_size": 2048,
    "intermediate_size": 8192,
    "num_hidden_layers": 16,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "max_position_embeddings": 8192,
    "tie_word_embeddings": True,
}
PEAK_FLOPS = {"H200": 989e12, "H100": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 4090": 165e12}  # bfloat16, dense
RATE, BETAS, EPSILON, CLIP = 1e-4, (0.9, 0.95), 1e-8, 1.0
RANK, ALPHA = 16, 32
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


class Setting(NamedTuple):
    """One run: what trains what, on which blocks."""

    name: str  # of the run: `ours`, `bare`, `trainer`, `trl`, or `slot/method`
    params: str  # full or lora
    folder: str  # where the model and the blocks are
    device: str
    block_tokens: int
    per_step: int
    micro: int
    warm: int  # steps that are not timed
    steps: int  # steps that are
    fused: bool
    knobs: dict[str, Any]  # of the recipe's section `train`
    clock: str = "wall"  # or cpu: seconds of this process's threads

    @property
    def num_steps(self) -> int:
        return self.warm + self.steps


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


def furnish(setting: Setting, model: str) -> None:
    """The model's folder, its tokens, and the training set that holds them."""
    import numpy as np
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from pipelines.edge.base_models import build_tiny
    from pipelines.small_model import SHAPE
    from steps.core.streams import pack, write_order, write_stream

    root = Path(setting.folder)
    build_tiny(root / "model")  # its tokenizer stands in for any
    if model != "tiny":
        torch.manual_seed(0)
        shape = {"small": SHAPE, "135m": SMALL_135M, "1b": LARGE_1B}[model]
        LlamaForCausalLM(LlamaConfig(**shape)).save_pretrained(root / "model")
    vocabulary = json.loads((root / "model/config.json").read_text(encoding="utf-8"))["vocab_size"]
    number, length = setting.num_steps * setting.per_step, setting.block_tokens
    tokens_BT = np.random.default_rng(0).integers(4, vocabulary, (number, length), dtype=np.int32)
    np.save(root / "blocks.npy", tokens_BT)
    for source in range(2):  # every second block is replayed, for methods that ask for it
        part_BT = tokens_BT[source::2]
        write_stream(root / "mix", source, pack(iter(part_BT), len(part_BT) * (length - 1), length))
    write_order(root / "mix", [(block % 2, block // 2, 0, length - 1) for block in range(number)], setting.per_step)
    (root / "mix/plan.json").write_text(json.dumps({"sources": ["new/text", "replay/general"]}), encoding="utf-8")


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


class Watch:
    """The seconds of each step, and the most memory."""

    def __init__(self, device: str, clock: str) -> None:
        self.device, self.ends = device, []
        self._now = time.perf_counter if clock == "wall" else time.process_time
        self.begin()

    def begin(self) -> None:
        """The first step begins."""
        self.ends = [self._now()]

    def look(self) -> None:
        """A step has ended."""
        if self.device == "cuda":
            import torch

            torch.cuda.synchronize()
        self.ends.append(self._now())

    def peak_mb(self) -> float:
        import resource

        import torch

        if self.device == "cuda":
            return torch.cuda.max_memory_allocated() / 1e6
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def child(setting: Setting) -> dict[str, Any]:
    """Train, in this process; tokens per second over the steps that are timed."""
    import psutil
    import torch

    if setting.device == "cuda":
        torch.set_float32_matmul_precision("high")
    trains: dict[str, Callable[[Setting, Watch], None]] = {"bare": bare, "trainer": trainer, "trl": trainer}
    watch = Watch(setting.device, setting.clock)
    before = psutil.Process().memory_info().rss / 1e6
    trains.get(setting.name, ours)(setting, watch)
    seconds = [after - start for start, after in zip(watch.ends, watch.ends[1:], strict=False)][setting.warm :]
    assert len(seconds) == setting.steps, f"wanted {setting.steps} steps, saw {len(seconds)}"
    tokens = setting.per_step * setting.block_tokens / statistics.median(seconds)
    found = {"tokens_per_second": tokens, "peak_mb": watch.peak_mb(), "before_mb": before}
    if setting.device == "cuda":
        found |= {"mfu": utilisation(setting, tokens), "gpu": torch.cuda.get_device_name()}
    return found


def utilisation(setting: Setting, tokens_per_second: float) -> float | None:
    """The share of the card's peak that the arithmetic needs: 6·N and causal attention for each token."""
    import torch
    from transformers import AutoConfig

    from steps.core.models import load_model

    name = torch.cuda.get_device_name()
    peak = next((flops for card, flops in PEAK_FLOPS.items() if card in name), None)
    shape = AutoConfig.from_pretrained(f"{setting.folder}/model")
    number = sum(each.numel() for each in load_model(Path(setting.folder) / "model").parameters())
    attention = 6 * shape.num_hidden_layers * shape.hidden_size * setting.block_tokens  # half of the square is masked
    return tokens_per_second * (6 * number + attention) / peak if peak else None


def ours(setting: Setting, watch: Watch) -> None:
    """The stage train, as a refresh calls it."""
    from steps.core.artifacts import TrainingSet, TrainingState, Validation
    from steps.core.models import describe_model
    from steps.core.workspace import Workspace
    from steps.train import TrainConfig, train

    root = Path(setting.folder)
    place = Path(tempfile.mkdtemp(dir=root))
    workspace = Workspace(root, place, 0, device=setting.device, progress=lambda *_: watch.look())
    number = setting.num_steps * setting.per_step * (setting.block_tokens - 1)
    training_set = TrainingSet(
        digest="blocks",
        path="mix",
        num_steps=setting.num_steps,
        blocks_per_step=setting.per_step,
        block_tokens=setting.block_tokens,
        planned={"new/text": number // 2, "replay/general": number // 2},
        achieved={"new/text": number // 2, "replay/general": number // 2},
    )
    given: dict[str, Any] = {
        "params": {"method": "full"} if setting.params == "full" else {"method": "lora", "rank": RANK, "alpha": ALPHA},
        "schedule": {"method": "constant"},
        "learning_rate": RATE,
        "optimizer": {"method": "adamw", "betas": BETAS, "epsilon": EPSILON, "fused": setting.fused},
        "clip_norm": CLIP,
        "micro_batch_blocks": setting.micro,
        "checkpoint_steps": 10**6,
        "validation_items": 0,
    }
    given |= setting.knobs
    if "objective" in setting.knobs:
        from steps.core.method import from_recipe

        fits_text = getattr(from_recipe("objective")(setting.knobs["objective"]), "fits_text", False)
        given["objective"] = [*([] if fits_text else [{"method": "next-token"}]), setting.knobs["objective"]]
    if "optimizer" in setting.knobs:
        from steps.core.method import load_method

        fields = load_method("optimizer", setting.knobs["optimizer"]["method"]).model_fields
        plain = {"betas": BETAS, "epsilon": EPSILON, "fused": setting.fused}
        given["optimizer"] = {**{k: v for k, v in plain.items() if k in fields}, **setting.knobs["optimizer"]}
    nothing = Validation(digest="none", path="mix", num_items={})
    state = TrainingState(digest="none")
    config = TrainConfig.model_validate(given)
    train(workspace, config, describe_model(workspace, root / "model"), state, training_set, nothing)


def network_of(setting: Setting) -> Any:
    """The network as the peers train it."""
    from transformers import AutoModelForCausalLM

    network = AutoModelForCausalLM.from_pretrained(f"{setting.folder}/model", dtype="float32")
    if setting.params == "lora":
        from peft import LoraConfig, get_peft_model

        config = LoraConfig(r=RANK, lora_alpha=ALPHA, target_modules="all-linear", task_type="CAUSAL_LM")
        network = get_peft_model(network, config)
    return network


def bare(setting: Setting, watch: Watch) -> None:
    """What one would write in an evening."""
    import numpy as np
    import torch

    network = network_of(setting).to(setting.device).train()
    blocks_BT = torch.from_numpy(np.load(f"{setting.folder}/blocks.npy")).long()
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, RATE, BETAS, EPSILON, weight_decay=0.0, fused=setting.fused)
    for step in range(setting.num_steps):
        rows_BT = blocks_BT[step * setting.per_step : (step + 1) * setting.per_step]
        for part_BT in rows_BT.split(setting.micro):
            placed_BT = part_BT.to(setting.device)
            with torch.autocast(setting.device, torch.bfloat16, enabled=setting.device == "cuda"):
                loss = network(input_ids=placed_BT, labels=placed_BT, use_cache=False).loss
            (loss * len(part_BT) / setting.per_step).backward()
        torch.nn.utils.clip_grad_norm_(trained, CLIP)
        optimizer.step()
        optimizer.zero_grad()
        watch.look()


def trainer(setting: Setting, watch: Watch) -> None:
    """transformers.Trainer, or trl.SFTTrainer with packing."""
    import numpy as np
    from datasets import Dataset
    from transformers import AutoTokenizer, Trainer, TrainerCallback, TrainingArguments, default_data_collator

    class Steps(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            watch.look()

    rows = np.load(f"{setting.folder}/blocks.npy").tolist()
    given: dict[str, Any] = {
        "output_dir": f"{setting.folder}/run-{os.getpid()}",
        "per_device_train_batch_size": setting.micro,
        "gradient_accumulation_steps": setting.per_step // setting.micro,
        "max_steps": setting.num_steps,
        "learning_rate": RATE,
        "lr_scheduler_type": "constant",
        "optim": "adamw_torch_fused" if setting.fused else "adamw_torch",
        "adam_beta1": BETAS[0],
        "adam_beta2": BETAS[1],
        "adam_epsilon": EPSILON,
        "max_grad_norm": CLIP,
        "bf16": setting.device == "cuda",
        "use_cpu": setting.device == "cpu",
        "save_strategy": "no",
        "logging_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "gradient_checkpointing": False,
    }
    if setting.name == "trainer":
        labelled = Dataset.from_dict({"input_ids": rows, "labels": rows})
        made = Trainer(
            model=network_of(setting),
            args=TrainingArguments(**given),
            train_dataset=labelled,
            data_collator=default_data_collator,
            callbacks=[Steps()],
        )
    else:
        from trl import SFTConfig, SFTTrainer

        packed = {"packing": True, "packing_strategy": "wrapped", "max_length": setting.block_tokens}
        made = SFTTrainer(
            model=network_of(setting),
            args=SFTConfig(**given, **packed),
            train_dataset=Dataset.from_dict({"input_ids": rows}),
            processing_class=AutoTokenizer.from_pretrained(f"{setting.folder}/model"),
            callbacks=[Steps()],
        )
    watch.begin()
    made.train()


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
        if "/" in name
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
