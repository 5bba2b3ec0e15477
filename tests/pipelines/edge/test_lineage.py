"""State moves to where it stays, once."""

import gzip
import hashlib
import json
from pathlib import Path

from pipelines.edge.home import Home
from pipelines.edge.lineage import adopt, base_of, identity_of, with_verdicts, write_used
from steps.core.artifacts import Buffer, History, MatrixRow, Segment, TrainingState
from steps.core.shards import digest_of, write_lines


def test_a_segment_is_copied_once_and_keeps_its_digest(tmp_path: Path) -> None:
    home = Home(tmp_path)
    made = tmp_path / "data" / "replay" / "segment"
    made.mkdir(parents=True)
    (made / "added.jsonl").write_text("{}\n")
    state = Buffer(digest="d", segments=(Segment(digest="a" * 64, path="data/replay/segment"),))
    adopted = adopt(home, state)
    (made / "added.jsonl").write_text("the next refresh writes here\n")
    assert adopt(home, adopted) == adopted
    place = home.root / adopted.segments[0].path
    assert (adopted.digest, place.parent.name) == ("d", "state")
    assert (place / "added.jsonl").read_text() == "{}\n"


def test_a_line_begins_at_its_base(tmp_path: Path) -> None:
    version = base_of(Home(tmp_path), "tiny:")
    assert version.name == "base"
    assert version.model.path.startswith(".perennial/models/")
    assert base_of(Home(tmp_path), "tiny:") == version


def test_what_a_version_trained_on_is_written_in_hashes(tmp_path: Path) -> None:
    write_lines(tmp_path / "used.jsonl", [{"key": "a", "content_hash": "c", "source": "new/t", "times": 1}])
    rows = gzip.decompress(write_used(tmp_path, tmp_path).read_bytes()).decode()
    assert json.loads(rows) == {"key": hashlib.sha256(b"a").hexdigest(), "content_hash": "c", "source": "new/t"}


def test_a_version_is_called_by_its_training_state_too_where_it_has_one() -> None:
    parts, consumed = ["model", "buffer", "index", "holdout"], {"types": ("0001",)}
    without = identity_of("parent", parts, consumed, TrainingState(digest="whatever"))
    assert without == digest_of(["parent", *parts, consumed])  # as versions were called before there was a state
    one, other = (identity_of("parent", parts, consumed, TrainingState(digest=d, path="p")) for d in "ab")
    assert len({without, one, other}) == 3
    assert one == identity_of("parent", parts, consumed, TrainingState(digest="a", path="elsewhere"))


def test_a_history_knows_of_the_verdicts_that_led_to_no_row_of_it(tmp_path: Path) -> None:
    home = Home(tmp_path)
    base = base_of(home, "tiny:0")
    assert with_verdicts(home, base) == base
    home.record("verdict", attempt="a", verdict="rejected", outcome={"verdicts": 2})  # repaired, and judged once more
    home.record("verdict", attempt="b", verdict="undecided", outcome={})
    home.record("verdict", attempt="b", verdict="accepted", outcome=None)  # promoted by hand: not judged again
    judged = with_verdicts(home, base).history
    assert judged.verdicts == 3
    assert judged.digest != base.history.digest
    rows = (MatrixRow(version="base", losses={}), MatrixRow(version="1", losses={}, verdicts=3))
    line = base.model_copy(update={"history": History(digest="rows", rows=rows)})
    assert with_verdicts(home, line) == line
    home.record("verdict", attempt="c", verdict="rejected", outcome=None)
    assert with_verdicts(home, line).history.verdicts == 1
