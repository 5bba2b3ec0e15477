"""What changed in words: how far apart two models' next tokens are, and texts that one writes and the other would not.

KL(candidate || other), in nats per token: what the candidate's own words cost the other more than itself, at every
token of a text that both read.

Contrastive generation (arXiv:2410.14765, to see what is new in data that one does not have; the threshold is recalled):
each token is drawn from softmax(log p_candidate - log p_parent) over the tokens that the candidate finds plausible,
p_candidate >= `plausible` x its largest. The mean of that difference over what was written, its gap, says whether the
two differ there: near zero it is noise.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from steps.core.artifacts import Frozen
from steps.core.differences import Contrast, Divergence
from steps.core.likelihood import MAX_NATS, Encoded, batches

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase


class Apart(Frozen):
    """How far apart two models are over the tokens of one text."""

    name: str
    nats: float
    tokens: int


class Prompt(Frozen):
    """The first tokens of a text, to be continued."""

    name: str
    task: str
    tokens: tuple[int, ...]


def apart(
    candidate: "PreTrainedModel", other: "PreTrainedModel", texts: Sequence[Encoded], context: int, batch_items: int
) -> list[Apart]:
    """KL(candidate || other) of each text in nats, summed over its tokens, in the order of their names.

    A token counts at most `MAX_NATS`, also where a model's logits are no numbers.

    Raises:
        ValueError: the two have different vocabularies.
    """
    import torch

    from steps.core.relative_entropy import relative_entropy

    found = []
    for batch in batches(texts, batch_items):
        width = max(len(text.tokens) for text in batch)
        rows = [[context, *text.tokens[:-1]] for text in batch]
        ids_BT = torch.tensor([row + [context] * (width - len(row)) for row in rows], device=candidate.device)
        with torch.no_grad():
            ours_BTV, theirs_BTV = (
                model(input_ids=ids_BT.to(model.device), use_cache=False).logits.to(candidate.device)
                for model in (candidate, other)
            )
            _refuse_strangers(ours_BTV, theirs_BTV)
            for row, text in enumerate(batch):
                length = len(text.tokens)
                nats = relative_entropy(ours_BTV[row, :length].float(), theirs_BTV[row, :length].float(), of_new=True)
                most = MAX_NATS * length
                total = float(nats.nan_to_num(nan=most, posinf=most).clamp(0.0, most))
                found.append(Apart(name=text.name, nats=total, tokens=length))
    return sorted(found, key=lambda each: each.name)


def _refuse_strangers(ours: "torch.Tensor", theirs: "torch.Tensor") -> None:
    if ours.shape[-1] != theirs.shape[-1]:
        raise ValueError(
            f"compare: wanted one vocabulary, found {ours.shape[-1]:,} and {theirs.shape[-1]:,} tokens; compare "
            "models of one line, or switch it off: `divergence_items: 0`, `prompts: 0`"
        )


def divergence(found: Iterable[Apart]) -> Divergence:
    """The mean over texts of nats per token, as losses are meant, with its standard error."""
    each = list(found)
    per_token = [one.nats / one.tokens for one in each]
    mean = math.fsum(per_token) / len(each)
    error = (
        math.sqrt(math.fsum((value - mean) ** 2 for value in per_token) / (len(each) - 1) / len(each))
        if each[1:]
        else None
    )
    return Divergence(
        nats_per_token=mean, error_nats=error, num_items=len(each), num_tokens=sum(one.tokens for one in each)
    )


def contrasts(
    candidate: "PreTrainedModel",
    parent: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    prompts: Sequence[Prompt],
    context: int,
    *,
    num_samples: int,
    num_tokens: int,
    plausible: float,
    seed: int,
) -> list[Contrast]:
    """Continuations that the candidate writes and its parent would not, the widest gap first; none twice.

    All prompts have one length, so nothing is padded. What is drawn for a prompt does not depend on the others.

    Raises:
        ValueError: the two have different vocabularies.
    """
    import torch

    rows = [
        (prompt, np.random.default_rng(_seed(seed, prompt.name, n))) for prompt in prompts for n in range(num_samples)
    ]
    if not rows:
        return []
    stop = tokenizer.eos_token_id
    ids = torch.tensor([[context, *prompt.tokens] for prompt, _ in rows], device=candidate.device)
    memory: list[Any] = [None, None]
    written: list[list[int]] = [[] for _ in rows]
    gaps: list[list[float]] = [[] for _ in rows]
    ended = [False] * len(rows)
    with torch.no_grad():
        for _ in range(num_tokens):
            logits = []
            for place, model in enumerate((candidate, parent)):
                output = model(
                    input_ids=ids.to(model.device), past_key_values=memory[place], use_cache=True, logits_to_keep=1
                )
                memory[place] = output.past_key_values
                logits.append(output.logits[:, -1].float().log_softmax(dim=-1).double().cpu())
            _refuse_strangers(*logits)
            drawn = []
            for row, (ours_V, theirs_V) in enumerate(zip(*logits, strict=True)):
                token = draw(ours_V.numpy(), theirs_V.numpy(), plausible, rows[row][1])
                ended[row] = ended[row] or token == stop
                drawn.append(token)
                if not ended[row]:
                    written[row].append(token)
                    gaps[row].append(float((ours_V[token] - theirs_V[token]).nan_to_num(nan=0.0)))
            if all(ended):
                break
            ids = torch.tensor(drawn, device=candidate.device)[:, None]
    found: dict[tuple[str, str], Contrast] = {}
    for (prompt, _), tokens, gap in zip(rows, written, gaps, strict=True):
        said = tokenizer.decode(tokens, skip_special_tokens=True).strip()
        text = f"{tokenizer.decode(list(prompt.tokens), skip_special_tokens=True).strip()} → {said}"
        if said:
            contrast = Contrast(task=prompt.task, text=text, gap_nats=math.fsum(gap) / len(gap))
            found.setdefault((prompt.task, text), contrast)
    return sorted(found.values(), key=lambda each: (-each.gap_nats, each.text))


def _seed(seed: int, name: str, number: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed} {name} {number}".encode()).digest()[:8], "little")


def draw(ours_V: np.ndarray, theirs_V: np.ndarray, plausible: float, rng: np.random.Generator) -> int:
    """One token, with probability proportional to p_candidate / p_parent among those plausible to the candidate.

    Both are log-probabilities. Where they are no numbers the first token is drawn: a broken model is no error.
    """
    kept = np.flatnonzero(ours_V >= ours_V.max() + math.log(plausible))
    weights = np.exp((gap := ours_V[kept] - theirs_V[kept]) - gap.max()) if len(kept) else np.array([])
    chance = rng.random()
    if not len(weights) or not np.isfinite(weights).all():
        return 0
    place = np.searchsorted(np.cumsum(weights), chance * weights.sum(), side="right")
    return int(kept[min(int(place), len(kept) - 1)])
