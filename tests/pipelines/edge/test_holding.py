from pathlib import Path

from pipelines.edge.holding import digest_of_landed, held_tasks, hold, released
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


def test_a_batch_that_a_person_let_pass_is_known_until_it_is_held_again(tmp_path: Path) -> None:
    home = Home(tmp_path)
    batch = Batch(digest="", task="a", name="one", path="", time="")
    landed = {"a": Landed(digest="", task=TaskFacts(name="a"), batches=(batch,))}
    hold(home, landed, {"a": "too small"})
    assert released(home) == set()
    home.record("release", task="a", batch="one", why="I looked")
    assert released(home) == {("a", "one")}
    home.record("hold", task="a", batch="one", why="by hand")
    home.record("release", task="a", batch="one", why="by hand")
    assert released(home) == set(), "nobody looked at what a rule says of it"


def test_a_released_batch_and_an_edited_contract_make_another_landing(tmp_path: Path) -> None:
    facts = TaskFacts(name="a", contract="pages")
    batch = Batch(digest="d", task="a", name="one", path="", time="")
    suite = tmp_path / "data/contracts/pages.json"
    suite.parent.mkdir(parents=True)
    suite.write_text("{}", encoding="utf-8")
    once = digest_of_landed(tmp_path, facts, [batch])
    passed = digest_of_landed(tmp_path, facts, [batch.model_copy(update={"released": True})])
    suite.write_text("{ }", encoding="utf-8")
    assert len({once, passed, digest_of_landed(tmp_path, facts, [batch])}) == 3
