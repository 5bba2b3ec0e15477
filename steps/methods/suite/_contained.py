"""What lm-evaluation-harness may not do while a suite asks: reach Python from a template, fetch code, draw bars."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def contained() -> Iterator[None]:
    """The harness renders a task's templates in Jinja's sandbox, where they reach no Python, and fetches no metrics.

    By itself it does neither; its progress bars, a line for each step in a log file, are left out.
    """
    import evaluate as metrics
    from jinja2 import BaseLoader, StrictUndefined
    from jinja2.sandbox import ImmutableSandboxedEnvironment
    from lm_eval import utils
    from lm_eval.api import task
    from lm_eval.models import huggingface

    safe = ImmutableSandboxedEnvironment(loader=BaseLoader(), undefined=StrictUndefined, keep_trailing_newline=True)
    safe.filters["regex_replace"] = utils.regex_replace
    swapped = [
        (utils, "env", safe),
        (metrics, "load", _refuse),
        (task, "tqdm", _silent),
        (huggingface, "tqdm", _silent),
    ]
    log = logging.getLogger("lm_eval")
    level = log.level
    before = [(module, name, getattr(module, name)) for module, name, _ in swapped]
    try:
        log.setLevel(logging.ERROR)  # it warns of how it is used here, and of what a task file may leave out
        for module, name, ours in swapped:
            setattr(module, name, ours)
        yield
    finally:
        log.setLevel(level)
        for module, name, theirs in before:
            setattr(module, name, theirs)


def _refuse(name: str, *_: Any, **__: Any) -> Any:
    raise ValueError(f"metric {name!r} would be fetched as code")


def _silent(*values: Any, **options: Any) -> Any:
    from tqdm import tqdm

    return tqdm(*values, **{**options, "disable": True})
