"""Outside a flow run nothing is shown, and nothing breaks; inside one, see tests/pipelines/test_looking.py."""

import pytest

from pipelines.edge.prefect_artifacts import Bar, post_report, run_page, with_bar


def test_outside_a_flow_run_there_is_no_page_and_nothing_is_posted() -> None:
    assert run_page() is None
    post_report("text", {"refresh-table": [{"task": "wiki"}]}, "title", None)


def test_progress_is_told_on_wherever_it_runs() -> None:
    told: list[tuple[int, int, str]] = []
    shown = with_bar("train", lambda *facts: told.append(facts))
    shown(1, 10, "steps")
    shown(10, 10, "steps")
    assert told == [(1, 10, "steps"), (10, 10, "steps")]


def test_a_server_that_is_gone_is_told_of_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from pipelines.edge import prefect_artifacts

    def gone() -> None:
        raise ConnectionRefusedError("nobody listens")

    monkeypatch.setattr(prefect_artifacts, "present_run", lambda: "a run")
    monkeypatch.setattr(prefect_artifacts, "_client", gone)
    bar = Bar("train")
    for done in range(1, 4):
        bar.show(done, 3, "steps")
    assert [record.message for record in caplog.records] == [
        "train: its progress is no longer shown in Prefect: ConnectionRefusedError('nobody listens')"
    ]
    post_report("text", {}, "mine tiny: version 1 accepted", None)
    assert "mine tiny: version 1 accepted: its report could not be shown" in caplog.records[-1].message
