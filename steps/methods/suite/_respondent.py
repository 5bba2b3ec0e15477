"""The model as lm-evaluation-harness asks it."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from steps.core.examinee import BATCH_PROMPTS, Examinee
from steps.core.prefixes import answers, reads_trees
from steps.methods.suite._contained import contained


def respondent(examinee: Examinee) -> Any:
    """The model as the harness asks it."""
    from lm_eval.models.huggingface import HFLM

    with contained():
        model = HFLM(pretrained=examinee.network, tokenizer=examinee.tokenizer, batch_size=BATCH_PROMPTS)
    if reads_trees(examinee.network):
        model._loglikelihood_tokens = partial(_in_trees, model, model._loglikelihood_tokens)
    for kind in ("loglikelihood", "loglikelihood_rolling", "generate_until"):
        setattr(model, kind, partial(getattr(model, kind), disable_tqdm=True))
    return model


def _in_trees(
    model: Any, own: Callable[..., Any], requests: Sequence[tuple[Any, list[int], list[int]]], **knobs: Any
) -> Any:
    """As the harness's own, but what requests have in common is read once; texts without a prompt are its own."""
    if any(said is None or len(before) + len(after) > model.max_length for said, before, after in requests):
        return own(requests, **knobs)
    rows = [([*before, *after], [0] * len(before) + [1] * len(after)) for _, before, after in requests]
    found = dict(answers(model.model, rows))
    return [(-found[place].nats, found[place].greedy) for place in range(len(rows))]
