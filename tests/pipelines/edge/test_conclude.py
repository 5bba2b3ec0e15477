"""The end of a refresh: what is registered must load back, a crash is made good, old weights go, lineage stays."""

from pathlib import Path

import pytest
import yaml

from pipelines.edge import conclude, registry
from pipelines.edge.conclude import clean_up, settle
from pipelines.edge.home import Home
from pipelines.edge.registry import WEIGHTS, Registry
from steps.core.models import digest_of_model
from tests.workspaces import land_rows, rows, run, tiny, workspace

pytestmark = pytest.mark.pipeline
LENIENT = {"superiority": "not-required", "margin_nats": 5.0}


def test_a_version_that_does_not_load_back_as_evaluated_fails_the_refresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch
    from safetensors.torch import load_file, save_file

    home = workspace(tmp_path, documents=60)
    stage_folder = registry.stage_folder

    def damaged(staging: Path, *others: object) -> None:
        stage_folder(staging, *others)  # type: ignore[arg-type]
        file = staging / WEIGHTS / "model.safetensors"
        tensors = {name: tensor + 0.05 * torch.ones_like(tensor) for name, tensor in load_file(file).items()}
        file.unlink()  # it is a hard link
        save_file(tensors, file, metadata={"format": "pt"})

    monkeypatch.setattr(conclude, "stage_folder", damaged)
    with pytest.raises(RuntimeError, match=r"loaded back from .*nothing was promoted"):
        run(home)
    assert Registry(home).champion() is None
    assert home.ledger() == []


def test_a_recipe_may_want_a_person_and_every_judgement_of_the_items_is_counted(tmp_path: Path) -> None:
    home = workspace(tmp_path, documents=60)
    first = run(home, tiny(gate=LENIENT | {"approval": True}))
    assert (first.kind, first.reasons[0]) == ("undecided", "awaiting approval: `perennial promote 1` accepts it")
    assert {use.most for use in first.uses.values()} == {1}
    assert Registry(home).champion() is None
    second = run(home, tiny(gate=LENIENT))
    assert second.kind == "accepted"
    assert {use.most for use in second.uses.values()} == {2}, "the same items, judged by a second time"
    rows_of_it = Registry(home).version(str(second.version)).history.rows
    assert [row.verdicts for row in rows_of_it[1:]] == [2]


def test_a_promotion_cut_off_from_its_line_in_the_ledger_gets_it_at_the_next_start(tmp_path: Path) -> None:
    home = workspace(tmp_path, documents=60)
    outcome = run(home)
    lines = [
        line for line in home.ledger_file.read_text().splitlines() if '"attempt"' in line and '"verdict"' not in line
    ]
    home.ledger_file.write_text("".join(f"{line}\n" for line in lines))
    assert home.judged(outcome.attempt) is None
    settle(home, Registry(home))
    settle(home, Registry(home))
    verdicts = [event for event in home.ledger() if event["event"] == "verdict"]
    assert [(event["verdict"], event["version"]) for event in verdicts] == [("accepted", "1")]
    moves = [(event["alias"], event["before"], event["after"]) for event in home.ledger() if event["event"] == "alias"]
    assert moves == [("champion", None, "1")], "whoever serves is told of the move"


def test_retention_removes_old_weights_and_never_those_that_serve_or_are_pinned(tmp_path: Path) -> None:
    home = workspace(tmp_path, documents=60)
    (home.root / "perennial.yaml").write_text(
        yaml.safe_dump({"name": "small", "recipe": "tiny", "retention": {"accepted": 1, "rejected": 0}})
    )
    assert run(home).kind == "accepted"
    for number in range(3):
        land_rows(home, "types", rows("types", 60 + 20 * number, 20))
        assert run(home, tiny(gate=LENIENT)).kind == "accepted"
    lines = Registry(home)
    kept = {v.number for v in lines.versions() if (lines.folder(v.number) / WEIGHTS / "model.safetensors").exists()}
    assert kept == {"1", "3", "4"}, "pinned as the oldest accepted, previous, champion"
    base, oldest = lines.version("4").references
    scored = {folder.name for folder in (home.root / "data/evaluate").iterdir()}
    weights = [base.digest, *(lines.get(number).tags["perennial.weights"] for number in kept)]
    assert scored == {digest[:16] for digest in weights}, "scores go with the weights"
    (home.root / "data/evaluate/notes.txt").write_text("of a person")
    assert clean_up(home, lines) == 0, "nothing is left to remove"
    assert (home.root / "data/evaluate/notes.txt").exists(), "no scores, not ours"
    assert [digest_of_model(home.root / model.path) for model in (base, oldest)] == [base.digest, oldest.digest]
    assert oldest.digest == lines.get("1").tags["perennial.weights"], "a reference is found where it is now"
    with pytest.raises(ValueError, match=r"removed by retention; .*reproduce 2"):
        lines.version("2")
    assert lines.get("2").tags["perennial.weights"], "its record stays"


def test_a_workspace_keeps_its_name_in_the_registry(tmp_path: Path) -> None:
    (tmp_path / "perennial.yaml").write_text("name: mine\n")
    assert Registry(Home(tmp_path)).name == "mine"
