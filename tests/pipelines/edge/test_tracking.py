"""What goes on a chart."""

from pipelines.edge.tracking import artifact_path, counts, flatten
from steps.core.artifacts import Corpus, MixturePlan, TaskFacts

CORPUS = Corpus(
    digest="d",
    task=TaskFacts(name="wiki"),
    path="data/ingest/wiki",
    num_landed=5,
    num_documents=3,
    quarantined={"not-json": 1, "nan": 1},
)


def test_a_nested_recipe_becomes_dotted_parameters() -> None:
    assert flatten({"train": {"params": {"method": "lora"}}, "seed": 1}) == {"train.params.method": "lora", "seed": 1}


def test_counts_are_named_after_stage_and_task() -> None:
    found = counts("ingest", CORPUS)
    assert found == {"ingest/landed_wiki": 5.0, "ingest/documents_wiki": 3.0, "ingest/quarantined_wiki": 2.0}


def test_only_data_is_logged_as_a_data_set() -> None:
    assert artifact_path(CORPUS) == "data/ingest/wiki"
    assert artifact_path(MixturePlan(digest="d", tokens={}, replay_share=0.0)) is None
