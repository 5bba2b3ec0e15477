"""The flow that schedules, events and the Prefect UI start. Only Prefect's runner imports this module."""

import logging
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.runtime import flow_run
from prefect.states import Cancelled

from pipelines.edge.attempts import run_refresh
from pipelines.edge.home import Busy, Home
from pipelines.edge.orchestration import final_state, prepare_environment
from pipelines.edge.outcome import Outcome
from pipelines.edge.owners import claim
from pipelines.edge.session import BY_HAND
from pipelines.recipe import find_recipe, load_recipe
from pipelines.service.announce import announce_pending
from pipelines.service.conditions import over_budget, spent
from pipelines.service.inbox import sweep_inboxes

logger = logging.getLogger(__name__)
LONGEST_WAIT_SECONDS = 3600.0  # for a refresh by hand to end


@flow(name="refresh", flow_run_name="{cause}", persist_result=False)  # type: ignore[untyped-decorator]
def refresh_workspace(workspace: str = ".", recipe: str | None = None, cause: str = BY_HAND) -> Any:
    """One refresh of a workspace on this machine.

    Args:
        workspace: its folder.
        recipe: a recipe's path or name; default: the workspace's.
        cause: what started it: `schedule:<name>`, `landing`, or a person.
    """
    prepare_environment(Path(workspace))
    home = Home(Path(workspace))
    if home.settings.threads:
        os.environ.setdefault("OMP_NUM_THREADS", str(home.settings.threads))
    with claim(home, str(flow_run.id)):
        try:
            return final_state(_refresh(home, recipe, cause))
        except BaseException as error:
            if isinstance(error, Exception):
                raise
            return Cancelled(
                name="Stopped", message="stopped after its last checkpoint; the next refresh goes on there"
            )
        finally:
            announce_pending(home)


def _refresh(home: Home, recipe: str | None, cause: str) -> Outcome:
    over = over_budget(spent(home.ledger(), datetime.now(UTC)), home.settings.budget) if cause != BY_HAND else ""
    if over:
        return Outcome(kind="unchanged", reasons=(over,))
    sweep_inboxes(home)
    loaded = load_recipe(find_recipe(recipe or home.settings.recipe, home.root))
    try:
        outcome = run_refresh(home, loaded, cause=cause, wait=LONGEST_WAIT_SECONDS)
    except Busy as error:
        return Outcome(kind="unchanged", reasons=(str(error),))
    if outcome.repeated:
        reason = f"the same attempt was judged before: {outcome.kind}, version {outcome.version}"
        return Outcome(kind="unchanged", reasons=(reason,))
    return outcome
