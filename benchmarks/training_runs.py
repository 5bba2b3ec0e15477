"""One run of `benchmarks/training.py`, in a process of its own: this engine, a bare loop, transformers or trl."""

import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

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
