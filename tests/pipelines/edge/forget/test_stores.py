"""Files of a store of artifacts: the same whether it is a folder here or behind MLflow."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.edge.forget import stores
from pipelines.edge.forget.stores import Store


@pytest.mark.parametrize("local", [True, False])
def test_files_are_listed_read_and_replaced_but_weights_are_left_alone(
    local: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("a.txt", "b/c.json", "model.safetensors"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    address = tmp_path.as_uri()
    if not local:  # MLflow's own way to a store, as it is for one that lies elsewhere

        def nowhere(address: str) -> Any:
            return None

        monkeypatch.setattr(stores, "local_folder", nowhere)
    store = Store(address)
    assert store.names() == ["a.txt", "b/c.json"]
    store.write("b/c.json", b"{}")
    assert store.read("b/c.json") == (tmp_path / "b/c.json").read_bytes() == b"{}"
    assert store.read("a.txt") == b"a.txt"
