import logging
from pathlib import Path

import pytest
import torch

from steps.core.training_state import EMPTY, describe_state, plateau_of, read_kept, write_kept
from steps.methods.objective.next_token import NextToken
from steps.methods.params.full import Full
from tests.tiny_models import tiny_workspace


def test_what_a_method_keeps_the_next_refresh_reads(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path)
    write_kept(workspace.path / "state", {"params-full.safetensors": {"a": torch.arange(3.0)}, "other": {}})
    state = describe_state(workspace, workspace.path / "state", EMPTY)
    assert [path.name for path in (workspace.path / "state").iterdir()] == ["params-full.safetensors"]
    assert torch.equal(read_kept(workspace, state, "params", Full())["a"], torch.arange(3.0))
    assert read_kept(workspace, state, "objective", NextToken()) == {}
    assert plateau_of(workspace, state) is None


def test_methods_that_keep_nothing_leave_the_empty_state(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path)
    assert describe_state(workspace, workspace.path / "state", EMPTY) == EMPTY
    assert read_kept(workspace, EMPTY, "params", Full()) == {}


def test_what_is_not_carried_on_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    workspace = tiny_workspace(tmp_path)
    write_kept(tmp_path / "before", {"params-full.safetensors": {"a": torch.arange(3.0)}})
    before = describe_state(workspace, tmp_path / "before", EMPTY)
    with caplog.at_level(logging.WARNING):
        describe_state(workspace, workspace.path / "state", before)
    assert (
        "training state not carried on, since no method of this recipe uses it: params-full.safetensors" in caplog.text
    )


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path)
    write_kept(tmp_path / "before", {"params-full.safetensors": {"a": torch.arange(3.0)}})
    before = describe_state(workspace, tmp_path / "before", EMPTY)
    (tmp_path / "before/params-full.safetensors").write_bytes(b"short")
    with pytest.raises(ValueError, match=r"params-full\.safetensors: wanted a safetensors file"):
        read_kept(workspace, before, "params", Full())
