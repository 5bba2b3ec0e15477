"""What every test runs under: the environment of the command line, before any library is imported."""

import os
import signal

from pipelines.edge.orchestration import ENVIRONMENT

os.environ.update(ENVIRONMENT)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a shell's background job; tests send Ctrl-C to themselves
    signal.signal(signal.SIGINT, signal.default_int_handler)
