"""One stage at a time, without Prefect: what `perennial step` and so `dvc repro` run."""

from pipelines.edge.home import Home
from pipelines.edge.logbook import data_pages
from pipelines.edge.session import Inputs, Progress, Session, Stopped
from pipelines.edge.stages import STAGES
from pipelines.recipe import find_recipe, load_recipe
from pipelines.refresh import refresh

WORDS = ("inputs", *STAGES, "conclude")


def run_step(home: Home, stage: str, task: str | None, recipe: str | None, progress: Progress) -> str:
    """Make one stage of the attempt in `data/inputs.json`; `inputs` begins an attempt. Returns a line for a person.

    Raises:
        ValueError: there is no such stage, no attempt is under way, or a stage before it is not made.
    """
    if stage not in WORDS:
        raise ValueError(f"no stage {stage!r}; there are: {', '.join(WORDS)}")
    file = home.root / "data" / "inputs.json"
    begins = stage == "inputs"
    if not begins and not file.exists():
        raise ValueError(f"{file}: no attempt is under way; begin one with `perennial step inputs`")
    inputs = None if begins else Inputs.model_validate_json(file.read_text(encoding="utf-8"))
    written = load_recipe(find_recipe(recipe or home.settings.recipe, home.root)) if inputs is None else inputs.written
    do = Session(home, written, prefect=False, track=False, only=stage, task=task, inputs=inputs, progress=progress)
    with home.lock():
        try:
            outcome = refresh(do)
        except Stopped:
            report = f"; report: {data_pages(do, do.made[stage])['clean']}" if stage == "clean" else ""
            return f"{stage}{f' {task}' if task else ''}: made{report}"
        except BaseException as error:
            do.abandon("FAILED" if isinstance(error, Exception) else "KILLED")
            raise
    return f"{stage}: {outcome.kind}, {'; '.join(outcome.reasons)}"
