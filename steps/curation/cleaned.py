"""A task's contract for what clean leaves: checked part by part, the results added up."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from steps.core.artifacts import TaskFacts
from steps.core.contracts import CONTRACTS, Contract
from steps.core.documents import row_of
from steps.curation.chain import Judged
from steps.curation.landed import shown
from steps.methods.quality import Judgement

RULE = "contract"


class CleanContract(NamedTuple):
    """Where the suite lies, and what the task gives it."""

    path: Path
    parameters: Mapping[str, tuple[str, ...]]

    def read(self) -> Contract:
        """The suite; its examples are masked.

        Raises:
            ValueError: there is no such suite, or it cannot be checked in portions.
        """
        return Contract(self.path, self.parameters, shown=shown)


def contract_of(root: Path, task: TaskFacts) -> CleanContract | None:
    """The contract of a task for its cleaned documents, if it names one."""
    if not task.clean_contract:
        return None
    return CleanContract(root / CONTRACTS / f"{task.clean_contract}.json", {"licences": task.licences})


def hold_to(contract: CleanContract, judged: Judged) -> dict[int, dict[str, Any]]:
    """Drop what breaks the contract of those that are left; returns what it found, to be added up."""
    suite, rows = contract.read(), judged.fit
    documents = [judged.fates[row].document for row in rows]
    plain = [{name: value for name, value in row_of(one).items() if name != "messages"} for one in documents]
    for row, reason in zip(rows, suite.check(plain) if plain else [], strict=True):
        if reason:
            judged.fates[row].rule, judged.fates[row].judgement = RULE, Judgement(f"contract:{reason}")
    judged.note(RULE)
    return suite.found


def result_of(contract: CleanContract, parts: list[dict[int, dict[str, Any]]]) -> dict[str, Any]:
    """What the parts found, as one result."""
    suite = contract.read()
    for part in parts:
        suite.add(part)
    return suite.result()
