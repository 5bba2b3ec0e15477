import json
from pathlib import Path

import pytest

from steps.core.manifest import MANIFEST, LandedFile, Manifest, digest_of_landing, read_manifest

FILES = (LandedFile(name="deep/a.txt", sha256="0" * 64, bytes=3),)
WHOLE = Manifest(
    task="docs",
    name="0001-a",
    landed_at="2026-01-01",
    files=FILES,
    removals=("k",),
    digest=digest_of_landing(FILES, ["k"]),
)


def test_a_manifest_reads_back_as_it_was_written(tmp_path: Path) -> None:
    (tmp_path / MANIFEST).write_text(WHOLE.model_dump_json())
    assert read_manifest(tmp_path) == WHOLE


@pytest.mark.parametrize("name", ["../a", "/a", "a/../b", ".", "a//b", "./a"])
def test_a_file_name_stays_in_its_batch(name: str) -> None:
    with pytest.raises(ValueError, match="leaves the batch's folder"):
        LandedFile(name=name, sha256="0" * 64, bytes=3)


def test_a_missing_damaged_or_changed_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="never landed"):
        read_manifest(tmp_path)
    (tmp_path / MANIFEST).write_text("{")
    with pytest.raises(ValueError, match="wanted the manifest that landing wrote"):
        read_manifest(tmp_path)
    changed = {**WHOLE.model_dump(), "removals": ["k", "other"]}
    (tmp_path / MANIFEST).write_text(json.dumps(changed))
    with pytest.raises(ValueError, match="a batch is immutable"):
        read_manifest(tmp_path)
