"""Jobs on a Ray cluster give the bytes of a plain loop, even if a node dies in the middle."""

from pathlib import Path

import pytest

from pipelines.edge import ray_engine
from pipelines.edge.ray_engine import Ground


def test_a_worker_that_does_not_see_the_workspace_is_refused(tmp_path: Path) -> None:
    with ray_engine._ground(tmp_path) as ground:
        ray_engine._stand_on(ground)
    with pytest.raises(ValueError, match=f"does not see the workspace {tmp_path}; mount it on every node"):
        ray_engine._stand_on(ground._replace(file=f"{ground.file}x"))


def test_a_worker_with_another_disk_at_the_same_path_is_refused(tmp_path: Path) -> None:
    with ray_engine._ground(tmp_path) as ground, pytest.raises(ValueError, match="does not see the workspace"):
        ray_engine._stand_on(ground._replace(content="of another workspace"))


def test_a_worker_with_other_code_is_refused(tmp_path: Path) -> None:
    with ray_engine._ground(tmp_path) as ground, pytest.raises(ValueError, match="other code or other libraries"):
        ray_engine._stand_on(Ground(ground.file, ground.content, "0" * 64))


def test_nothing_is_left_in_the_workspace(tmp_path: Path) -> None:
    with ray_engine._ground(tmp_path):
        pass
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
