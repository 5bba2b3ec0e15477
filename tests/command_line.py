"""The command line, called by tests: in this process, and as one of its own."""

import subprocess
import sys

from typer.testing import CliRunner

from pipelines.cli import app
from pipelines.commands.common import state


def call(*words: str) -> tuple[int, str]:
    """Exit code and output."""
    state.update(workspace=None, verbose=False)
    result = CliRunner().invoke(app, list(words))
    return result.exit_code, result.output


def perennial(*words: str) -> subprocess.CompletedProcess[str]:
    """A process that has ended, its output captured."""
    script = "from pipelines.cli import main; main()"
    return subprocess.run([sys.executable, "-c", script, *words], capture_output=True, text=True, check=False)
