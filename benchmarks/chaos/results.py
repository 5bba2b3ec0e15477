"""What came of each case, kept line by line, so that a run that was stopped goes on where it was."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

RESULTS = Path(".perennial/chaos/results.jsonl")


@dataclass
class Result:
    """What came of one case."""

    seed: int
    name: str
    what: str
    recovery: str
    kills: int = 0
    happened: str = ""
    skipped: str = ""
    problems: list[str] = field(default_factory=list)
    recovered_seconds: float = 0.0
    seconds: float = 0.0


def keep(result: Result) -> None:
    """One line more."""
    RESULTS.parent.mkdir(parents=True, exist_ok=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(asdict(result)) + "\n")


def kept(seed: int) -> list[Result]:
    """What ran with a seed, in the order in which it ran."""
    lines = RESULTS.read_text(encoding="utf-8").splitlines() if RESULTS.exists() else []
    return [found for line in lines if (found := Result(**json.loads(line))).seed == seed]
