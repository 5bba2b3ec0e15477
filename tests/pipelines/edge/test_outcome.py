"""An outcome is a value with an exit code."""

import pytest

from pipelines.edge.outcome import Kind, Outcome


@pytest.mark.parametrize(("kind", "code"), [("accepted", 0), ("unchanged", 0), ("rejected", 10), ("undecided", 11)])
def test_a_verdict_is_an_exit_code(kind: Kind, code: int) -> None:
    assert Outcome(kind=kind).exit_code == code


def test_an_outcome_survives_the_ledger() -> None:
    outcome = Outcome(kind="rejected", reasons=("forgot",), samples={"wiki": ("a", "b")})
    assert Outcome.model_validate_json(outcome.model_dump_json()) == outcome
