"""A deletion from plan to end: cut off at any step it is finished, and nothing is left."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pipelines.edge.forget import work
from pipelines.edge.forget.tombstones import hash_of, read_tombstones
from pipelines.edge.home import Home
from pipelines.edge.registry import Registry
from steps.core.documents import content_hash
from steps.core.state import digest_of_folder
from tests.pipelines.edge.forget.lines import KEY, OTHER, TEXT, line, shown
from tests.workspaces import workspace

pytestmark = pytest.mark.pipeline
CUTS = (  # the first few in every run, the others in `make test-all`
    "rewrite_segments",
    "remove_segments",
    "scrub_hidden",
    "rewrite_batches",
    "new_identities",
    "rewrite_versions",
    "clear_stages",
    "scrub_databases",
    "remove_objects",
    "point_anew",
)


CASES = [None, *CUTS[:3], *(pytest.param(cut, marks=pytest.mark.slow) for cut in CUTS[3:])]


def check(home: Home) -> None:
    assert shown(home, KEY, TEXT[:20], "yellow house") == []
    assert shown(home, OTHER["key"]), "its neighbour stays"
    assert not work.is_under_way(home)
    assert len(read_tombstones(home.root)) == 1
    registry = Registry(home)
    listed = {segment.path: segment.digest for state in _states(registry) for segment in state.segments}
    assert {f"data/state/{path.name}" for path in (home.root / "data/state").iterdir()} == listed.keys()
    assert all(digest_of_folder(home.root / path) == digest for path, digest in listed.items())


def _states(registry: Registry) -> list[Any]:
    versions = [registry.version(number) for number in ("1", "2")]
    return [state for version in versions for state in (version.buffer, version.index, version.holdout)]


@pytest.mark.parametrize("cut", CASES)
def test_cut_off_anywhere_it_is_finished_before_the_next_refresh(
    cut: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = line(tmp_path)
    planned = work.plan(home, [KEY], [])
    assert [(each.version, each.how) for each in planned.versions] == [("1", "trained"), ("2", "descends")]
    if cut is None:
        done = work.forget(home, planned, "asked")
        assert (done.documents, len(done.batches), done.segments) == (1, 1, 2)
    else:
        with monkeypatch.context() as broken:
            broken.setattr(work, cut, _after(getattr(work, cut)))
            with pytest.raises(KeyboardInterrupt):
                work.forget(home, planned, "asked")
        assert work.is_under_way(home)
        work.finish_what_was_cut_off(home)
    check(home)
    event = [event for event in home.ledger() if event["event"] == "forget"][-1]
    assert event["documents"] == [{"key": hash_of(KEY), "content": content_hash(TEXT)}]
    assert event["versions"] == {"1": "trained", "2": "descends"}


def _after(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step after which the process is no more."""

    def cut_off(*given: Any, **named: Any) -> Any:
        step(*given, **named)
        raise KeyboardInterrupt

    return cut_off


def test_a_remote_that_is_away_stops_no_refresh_and_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    home = line(tmp_path)

    def away(*_: Any) -> Any:
        raise ConnectionError("nobody answers")

    with monkeypatch.context() as broken:
        broken.setattr(work, "remove_objects", away)
        with pytest.raises(ConnectionError):
            work.forget(home, work.plan(home, [KEY], []), "asked")
        work.finish_what_was_cut_off(home)
        assert "still on a DVC remote (nobody answers)" in caplog.text
        assert work.is_under_way(home)
    work.finish_what_was_cut_off(home)
    check(home)


def test_what_is_nowhere_and_a_reason_that_tells_are_refused(tmp_path: Path) -> None:
    home = workspace(tmp_path, documents=2)
    with pytest.raises(ValueError, match="no document here has such a key or text"):
        work.plan(home, ["nobody"], [])
    planned = work.plan(home, ["types/150"], [])
    with pytest.raises(ValueError, match="would keep its key or text in the ledger"):
        work.forget(home, planned, "types/150 asked")
    assert not work.is_under_way(home)
    work.forget(home, planned, "asked")
    assert work.forget(home, work.plan(home, ["types/150"], []), "once more").documents == 0
    assert len(read_tombstones(home.root)) == 1
