from pathlib import Path

from steps.core.artifacts import HoldoutState
from steps.core.holdouts import PARTS, held_folders
from steps.core.scan import SIDES, scan_all, withdrawn
from steps.core.state import Part, current_holdout
from steps.split import SplitConfig, split
from tests.builders import at_stage, build_corpus, build_texts, build_workspace, empty, prose

HALF = SplitConfig(gate_share=0.3, validation_share=0.2)


def test_what_is_held_already_is_found_by_key_and_by_text(tmp_path: Path) -> None:
    workspace = build_workspace(tmp_path)
    pages = {f"k{number}": prose(number, 100) for number in range(20)}
    state = split(
        at_stage(workspace, "one"), HALF, {"topics": build_texts(workspace, pages)}, empty(HoldoutState)
    ).state
    parts = current_holdout(workspace, state).parts()
    key, part = next(iter(parts.items()))
    folders: dict[Part, list[Path]] = {own: held_folders(workspace, state, own) for own in PARTS}
    again = {key: pages[key], "twin": pages[key] + " more", "stranger": prose(99, 100)}
    found = scan_all(workspace, state, folders, build_texts(workspace, again, place="later"))
    assert list(found.keys) == [key, "twin", "stranger"]
    assert [SIDES[side] for side in found.parts] == [part, part, None]
    assert found.by_key.tolist() == [True, False, False]
    assert found.known.tolist() == [True, False, False]
    changed = scan_all(workspace, state, folders, build_texts(workspace, {key: prose(77)}, place="changed"))
    assert (changed.by_key.tolist(), changed.known.tolist()) == ([True], [False])
    leaving = {"topics": build_corpus(workspace, [], withdrawn=[key, "unknown"], place="gone")}
    assert withdrawn(leaving, folders) == [(key, "topics", part)]
