"""What every test runs under: the environment of the command line, before any library is imported."""

import os

from pipelines.edge.orchestration import ENVIRONMENT

os.environ.update(ENVIRONMENT)
