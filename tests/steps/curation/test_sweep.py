from pathlib import Path

import numpy as np
import pytest

from steps.core.artifacts import Kept
from steps.core.documents import Item
from steps.core.method import load_method
from steps.curation import look, sweep
from steps.methods.decontaminate import Decontaminate
from tests.builders import build_corpus, build_document, build_workspace, contents, prose, run_data_stages


def clean_with(root: Path) -> tuple[Kept, dict[str, bytes]]:
    workspace = build_workspace(root)
    documents = [build_document(f"k{n}", prose(n % 40, 60)) for n in range(60)]
    documents += [build_document(f"near-{n}", prose(n, 60) + " and more") for n in range(8)]
    documents += [build_document("short", "x"), build_document("k3", prose(300))]
    kept = run_data_stages(workspace, {"topics": build_corpus(workspace, documents)}).kept
    return kept, contents(workspace.at(kept.path))


def test_the_parts_decide_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole, files = clean_with(tmp_path / "one")
    for module in (look, sweep):
        monkeypatch.setattr(module, "RANGE_BYTES", 2000)
    parted, same = clean_with(tmp_path / "many")
    assert parted == whole
    assert same == files
    assert whole.dropped["topics"] == {"duplicate": 19, "near-duplicate": 8, "too-short": 1}


def test_grams_are_written_for_every_worker(tmp_path: Path) -> None:
    method = load_method("decontaminate", "coverage")()
    assert isinstance(method, Decontaminate)
    grams = method.grams_of([Item(id="i", task="t", document="d", text=prose(1, 30))])
    back = sweep.load_grams(sweep.save_grams(tmp_path, grams))
    assert back.items == grams.items
    assert back.arrays.keys() == grams.arrays.keys()
    assert all(np.array_equal(back.arrays[name], array) for name, array in grams.arrays.items())
