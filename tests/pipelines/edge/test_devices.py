import logging
from typing import Any

import pytest

from pipelines.edge.devices import choose_device, num_processes
from steps.merge import merge
from steps.train import train
from tests.training import section

ALONE: dict[str, Any] = {"method": "magnitude"}  # its mask is drawn from what one process saw


@pytest.mark.parametrize("wanted", ["cpu", "cuda"])
def test_a_device_that_is_named_is_taken(wanted: str) -> None:
    assert choose_device(wanted) == wanted


def test_auto_obeys_an_empty_list_of_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert choose_device("auto") == "cpu"


@pytest.mark.parametrize(("wanted", "gpus", "found"), [(0, 0, 1), (0, 4, 4), (2, 4, 2), (3, 0, 3)])
def test_training_runs_on_every_gpu_unless_told_otherwise(wanted: int, gpus: int, found: int) -> None:
    assert num_processes(train, section(), wanted, gpus) == found


def test_only_training_runs_in_several_processes() -> None:
    assert num_processes(merge, section(), wanted=0, gpus=4) == 1


def test_more_processes_than_gpus_are_refused() -> None:
    with pytest.raises(ValueError, match=r"training\.processes: wanted 5, this machine has 4 GPUs; lower it"):
        num_processes(train, section(), wanted=5, gpus=4)


def test_a_method_that_works_in_one_process_gets_one_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert num_processes(train, section(params=ALONE), wanted=0, gpus=4) == 1
    assert "one of 4 GPUs is used: params: magnitude works in one process only" in caplog.text
