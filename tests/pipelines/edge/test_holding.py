from pathlib import Path

from pipelines.edge.holding import held_tasks, hold
from pipelines.edge.home import Home
from steps.core.artifacts import Batch, Corpus, Landed, TaskFacts


def corpus(task: str, held: str) -> Corpus:
    facts = TaskFacts(name=task)
    return Corpus(digest="", task=facts, path="", num_landed=0, num_documents=0, quarantined={}, held=held)


def test_what_a_stage_held_is_found() -> None:
    made = {"ingest/a": corpus("a", "too small"), "ingest/b": corpus("b", "")}
    assert held_tasks(made) == {"a": "too small"}


def test_a_batch_is_set_aside_once_with_its_reason(tmp_path: Path) -> None:
    home = Home(tmp_path)
    batch = Batch(digest="", task="a", name="one", path="", time="")
    landed = {"a": Landed(digest="", task=TaskFacts(name="a"), batches=(batch,))}
    for _ in range(2):
        hold(home, landed, {"a": "too small"})
    assert [(event["batch"], event["why"], event["by_rule"]) for event in home.ledger()] == [("one", "too small", True)]
    assert home.held() == {("a", "one"): "held"}
