"""What pilots keep and say; whole sets of them are in tests/pipelines/test_pilot.py."""

import pytest

from pipelines.edge.pilots import Piloted, groups_of
from steps.methods.mixture import Pilot, Shares, Trial

SHARES = Shares(replay=0.5, new_weights={"law": 1.0}, replay_weights={"general": 1.0})
PILOT = Pilot(
    trial=Trial(name="half", shares=SHARES, num_tokens=10),
    tokens=(0, 10),
    losses={"law": (3.0, 2.0), "code": (5.0, 3.0), "general": (2.0, 2.5), "aside": (9.0, 9.0)},
    num_parameters=1,
)
ROLES = {"law": "train", "code": "train", "general": "replay-only", "aside": "eval-only"}


def test_groups_are_means_over_the_tasks_of_a_role() -> None:
    piloted = Piloted(kind="fitted", recipe="r", roles=ROLES)
    assert groups_of(piloted, PILOT) == {"domain": (4.0, 2.5), "general": (2.0, 2.5)}


def test_a_group_without_a_task_is_left_out() -> None:
    assert groups_of(Piloted(kind="fitted", recipe="r", roles={"law": "train"}), PILOT) == {"domain": (3.0, 2.0)}


@pytest.mark.parametrize(("kind", "code"), [("fitted", 0), ("needless", 0), ("unchanged", 0), ("refused", 10)])
def test_the_exit_code_tells_a_refusal_from_the_rest(kind: str, code: int) -> None:
    assert Piloted.model_validate({"kind": kind, "recipe": "r"}).exit_code == code
