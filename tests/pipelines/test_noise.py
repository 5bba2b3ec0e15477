"""The last candidate trained again with other seeds, on the tiny model."""

from pathlib import Path

import pytest

from pipelines.edge.seeds import run_noise
from tests.workspaces import run, tiny, workspace


@pytest.mark.pipeline
def test_other_seeds_train_other_candidates_and_change_no_state(tmp_path: Path) -> None:
    home = workspace(tmp_path)
    outcome = run(home, tiny())
    ledger, merged = home.ledger(), (home.root / "data/merge/record.json").read_bytes()
    found = run_noise(home, 2)
    assert found.seeds == (20, 21, 22)
    assert found.attempt == outcome.attempt
    changes = {row.task: row.change for row in outcome.rows if row.change is not None}
    assert {spread.name: spread.changes[0] for spread in found.spreads} == pytest.approx(changes)
    for spread in found.spreads:
        assert len(set(spread.changes)) == 3
        assert 0 < spread.spread < 1
        assert spread.margin == 0.1
    assert (home.root / found.path).is_file()
    assert home.ledger() == ledger
    assert (home.root / "data/merge/record.json").read_bytes() == merged
    assert not list((home.root / "data/noise").glob("*/"))
