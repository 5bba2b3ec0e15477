import pytest

from steps.core.conservation import conservation
from tests.builders import build_texts, build_workspace, prose, run_data_stages


def test_a_lost_record_is_noticed(tmp_path_factory: pytest.TempPathFactory) -> None:
    workspace = build_workspace(tmp_path_factory.mktemp("law"))
    corpus = {"topics": build_texts(workspace, {"a": prose(1), "b": prose(2)})}
    data = run_data_stages(workspace, corpus)
    conservation(corpus, data.holdout, data.kept, "topics")
    lost = data.kept.model_copy(update={"kept": {"topics": 1}})
    with pytest.raises(AssertionError, match=r"2 records landed, but kept 1 .* = 1; this is a fault of perennial"):
        conservation(corpus, data.holdout, lost, "topics")
