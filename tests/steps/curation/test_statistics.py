import json
from pathlib import Path

import numpy as np
import pytest

from steps.core.records import FREE, HELD, SUPERSEDED
from steps.curation.look import Look
from steps.curation.statistics import SAMPLE, figures_of, languages_of, share_to_sample, statistics_of
from steps.curation.sweep import Swept
from tests.builders import build_corpus, build_document, build_workspace, prose, run_data_stages

ENGLISH = "The committee met on Tuesday and agreed that the new rules would apply from next year, whatever the weather."
GERMAN = "Der Ausschuss tagte am Dienstag und beschloss, dass die neuen Regeln ab dem nächsten Jahr gelten sollen."


def seen(*lengths: int) -> Look:
    return Look(lengths=np.array(lengths, dtype=np.int64))


def test_where_records_went_is_counted_from_the_documents_down() -> None:
    states = np.array([FREE, SUPERSEDED, HELD, FREE, FREE])
    known = {3: ("unchanged", "k3"), 4: ("duplicate", "k0")}
    found = statistics_of(seen(10, 20, 30, 40, 50), states, known, Swept([], {}), [])
    assert [tuple(one.values()) for one in found["before"]] == [
        ("documents", 5, 150),
        ("superseded", 4, 130),
        ("held out", 3, 100),
        ("duplicate", 2, 50),
        ("unchanged", 1, 10),
    ]
    assert found["lengths"]["before"] == {"3": 1}, "ten characters: from 8 to 15"


def test_a_sample_is_decided_by_what_documents_say_and_bounded() -> None:
    documents = [build_document(f"k{n}", prose(n)) for n in range(400)]
    half = languages_of(documents, 0.5)
    assert 150 < len(half) < 250
    assert {documents[row].key for row in half} == {
        documents[::-1][row].key for row in languages_of(documents[::-1], 0.5)
    }
    assert share_to_sample(100) == 1.0
    assert share_to_sample(10 * SAMPLE) == pytest.approx(0.1)


def test_figures_leave_out_what_was_superseded() -> None:
    states = np.array([FREE, SUPERSEDED, HELD])
    found = figures_of(seen(10, 1000, 30), states, {}, Swept([], {}))
    assert (found.documents, found.median_characters, found.share_dropped) == (2, 20.0, 1.0)


def test_clean_writes_lengths_and_languages_before_and_after_the_rules(tmp_path: Path) -> None:
    workspace = build_workspace(tmp_path)
    texts = {"en": ENGLISH, "de": GERMAN, "no": "short"}
    documents = [build_document(key, text) for key, text in texts.items()]
    kept = run_data_stages(workspace, {"topics": build_corpus(workspace, documents)}).kept
    found = json.loads((workspace.at(kept.path) / "topics" / "statistics.json").read_text(encoding="utf-8"))
    assert found["lengths"] == {"before": {"2": 1, "6": 2}, "kept": {"6": 2}}
    assert found["languages"]["kept"] == {"de": 1, "en": 1}
    assert sum(found["languages"]["before"].values()) == 3
