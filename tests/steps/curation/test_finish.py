import json
from pathlib import Path

from tests.builders import build_texts, build_workspace, prose, rows, run_data_stages


def test_a_near_duplicate_names_the_first_of_its_cluster_in_any_task(tmp_path: Path) -> None:
    workspace = build_workspace(tmp_path)
    page = prose(1, 200)
    corpus = {
        "topics": build_texts(workspace, {"a": page, "b": page + " more"}),
        "other": build_texts(workspace, {"c": page + " and more"}, task="other"),
    }
    kept = run_data_stages(workspace, corpus).kept
    for task, key in (("topics", "b"), ("other", "c")):
        (row,) = rows(workspace.at(kept.path) / task / "dropped.jsonl")
        assert (row["key"], row["reason"], row["of"]) == (key, "near-duplicate", "a")


def test_a_near_duplicate_of_what_an_earlier_refresh_kept_is_dropped(tmp_path: Path) -> None:
    workspace = build_workspace(tmp_path)
    page = prose(1, 200)
    before = run_data_stages(workspace, {"topics": build_texts(workspace, {"a": page})})
    later = {"topics": build_texts(workspace, {"b": page + " more"}, place="later")}
    kept = run_data_stages(workspace, later, before, refresh="second").kept
    (row,) = rows(workspace.at(kept.path) / "topics" / "dropped.jsonl")
    assert (row["key"], row["reason"], row["of"]) == ("b", "near-duplicate", "a")


def test_a_changed_page_is_no_duplicate_of_itself(tmp_path: Path) -> None:
    workspace = build_workspace(tmp_path)
    page = prose(1, 200)
    before = run_data_stages(workspace, {"topics": build_texts(workspace, {"a": page})})
    later = {"topics": build_texts(workspace, {"a": page + " more"}, place="later")}
    kept = run_data_stages(workspace, later, before, refresh="second").kept
    assert (kept.kept, kept.stale) == ({"topics": 1}, ("a",))


def test_what_each_rule_left_is_written(tmp_path: Path) -> None:
    workspace = build_workspace(tmp_path)
    pages = {"a": prose(1), "b": prose(2), "c": "x"}
    kept = run_data_stages(workspace, {"topics": build_texts(workspace, pages)}).kept
    folder = workspace.at(kept.path) / "topics"
    facts = json.loads((folder / "passages.json").read_text(encoding="utf-8"))
    left = {one["rule"]: (one["documents"], one["characters"]) for one in facts["passages"]}
    both = len(prose(1)) + len(prose(2))
    assert list(left) == ["quality/basic", "privacy/patterns", "decontaminate", "dedup"]
    assert set(left.values()) == {(2, both)}
