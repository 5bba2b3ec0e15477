"""The command line's contract: its verbs, and that they answer at once."""

import subprocess
import sys

import pytest

from tests.command_line import call

VERBS = ["init", "validate", "refresh", "land", "hold", "release", "discard", "status", "step", "methods", "schema"]
VERBS += ["promote", "rollback", "reproduce", "ui", "doctor", "diff", "export", "push", "evaluate"]


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_of_the_contract_is_there_and_explains_itself(verb: str) -> None:
    code, text = call(verb, "--help")
    assert code == 0
    assert "Usage:" in text


def test_help_imports_nothing_heavy() -> None:
    heavy = ("torch", "mlflow", "prefect", "dvc", "pandas", "pydantic")
    script = f"import sys, pipelines.cli; print([name for name in {heavy} if name in sys.modules])"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout == "[]\n", "import heavy libraries inside the verbs: --help must answer within a second"
