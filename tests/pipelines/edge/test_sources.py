"""What a version trained on, counted: what was drawn counts, not what was kept."""

from pathlib import Path

from pipelines.edge.sources import Sources, count_sources
from steps.core.artifacts import Buffer, Chosen, Segment, TaskFacts, TrainingSet
from steps.core.shards import write_json, write_lines
from steps.core.workspace import Workspace

NO_SOURCES = Sources(new={}, replayed={}, languages={})


def row(key: str, licence: str, source: str = "files", **more: object) -> dict[str, object]:
    facts = {"key": key, "content_hash": f"hash of {key}", "text": key, "source": source, "language": "en", "time": ""}
    return {**facts, "licence": licence, "batch": "b", "num_tokens": 1, **more}


def counted(root: Path, before: Sources | None = None, parent: str = "base") -> Sources:
    """Of task `laws` a and b are drawn, of the buffer old, of the replay-only task `general` g."""
    place = root / "data"
    rows = [row("a", "MIT", task="laws"), row("b", "CC0-1.0", "hf:owner/set:en@v1", task="laws", language="de")]
    write_lines(place / "select/laws/documents.jsonl", [*rows, row("c", "GPL-3.0", task="laws")])
    write_lines(place / "select/general/documents.jsonl", [row("g", "CC-BY-4.0", task="general")])
    write_lines(place / "state/s/added.jsonl", [row("old", "ISC", task="news"), row("left", "BSD", task="news")])
    write_json(place / "state/s/segment.json", {})
    used = [("new/laws", "a"), ("new/laws", "b"), ("replay/news", "old"), ("replay/general", "g")]
    drawn = [{"source": s, "key": k, "content_hash": f"hash of {k}", "times": 3} for s, k in used]
    write_lines(place / "mix/used.jsonl", drawn)
    tasks = (TaskFacts(name="laws"), TaskFacts(name="general", role="replay-only"))
    chosen = Chosen(digest="c", path="data/select", tasks=tasks, num_documents={}, num_tokens={}, stale=())
    buffer = Buffer(digest="b", segments=(Segment(digest="s", path="data/state/s"),))
    none: dict[str, int] = {}
    made = TrainingSet(
        digest="m", path="data/mix", num_steps=1, blocks_per_step=1, block_tokens=2, planned=none, achieved=none
    )
    return count_sources(Workspace(root=root, path=place, seed=0), chosen, buffer, made, before, parent)


def test_what_was_drawn_is_counted_by_task_and_licence(tmp_path: Path) -> None:
    found = counted(tmp_path)
    assert found.new == found.line == {"laws": {"CC0-1.0": 1, "MIT": 1}}
    assert found.replayed == {"general": {"CC-BY-4.0": 1}, "news": {"ISC": 1}}
    assert found.languages == {"de": 1, "en": 3}
    assert found.datasets == ("owner/set",)
    assert found.whole


def test_the_line_adds_up_what_it_learned_as_new(tmp_path: Path) -> None:
    before = Sources(
        new={},
        replayed={},
        languages={},
        line={"laws": {"MIT": 4}, "news": {"ISC": 2}},
        line_replayed={"x": ("ODC-BY",)},
    )
    found = counted(tmp_path, before, "1")
    assert found.line == {"laws": {"CC0-1.0": 1, "MIT": 5}, "news": {"ISC": 2}}
    assert found.line_replayed == {"general": ("CC-BY-4.0",), "news": ("ISC",), "x": ("ODC-BY",)}
    assert found.licences == ["CC-BY-4.0", "CC0-1.0", "ISC", "MIT", "ODC-BY"]


def test_a_line_with_a_version_that_was_not_counted_is_not_whole(tmp_path: Path) -> None:
    assert not counted(tmp_path, None, "1").whole
    assert not counted(tmp_path, NO_SOURCES.model_copy(update={"whole": False}), "2").whole
