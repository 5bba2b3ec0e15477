import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from steps.core.examinee import Examinee
from steps.methods.suite import Answered
from steps.methods.suite._lm_eval import scored
from steps.methods.suite._tasks import read_task
from steps.methods.suite.harness import Harness
from tests.steps.methods.suite.examinees import chat_model, write_rows

NEEDS = "pip install 'perennial[harness]'"
CHOICE = {
    "dataset_path": "json",
    "dataset_kwargs": {"data_files": {"test": "capitals.jsonl"}},
    "test_split": "test",
    "output_type": "multiple_choice",
    "doc_to_text": "{{q}}",
    "doc_to_choice": "{{choices}}",
    "doc_to_target": "{{answer}}",
    "metric_list": [{"metric": "acc", "aggregation": "mean", "higher_is_better": True}],
}
CLOZE = CHOICE | {"output_type": "loglikelihood", "doc_to_target": "{{choices[answer]}}"}
CLOZE.pop("doc_to_choice")
PERPLEXITY = {
    **{key: CHOICE[key] for key in ("dataset_path", "dataset_kwargs", "test_split")},
    "output_type": "loglikelihood_rolling",
    "doc_to_text": "",
    "doc_to_target": "{{q}}",
    "metric_list": [{"metric": "byte_perplexity", "aggregation": "weighted_perplexity", "higher_is_better": False}],
}
GENERATION = CLOZE | {
    "output_type": "generate_until",
    "generation_kwargs": {"until": ["\n"], "max_gen_toks": 4, "do_sample": False},
    "metric_list": [{"metric": "exact_match", "aggregation": "mean", "higher_is_better": True}],
}
ROWS = [
    {"q": f"The capital of {land}?", "choices": ["Rome", "Bern", "Oslo"], "answer": place % 3, "document": "Europe"}
    for place, land in enumerate(["Italy", "Switzerland", "Norway", "France", "Spain"])
]


def write_task(root: Path, name: str = "capitals", **changes: Any) -> str:
    write_rows(root / "capitals.jsonl", ROWS)
    config = {key: value for key, value in (CHOICE | changes).items() if value is not None}
    (root / f"{name}.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return f"{name}.yaml"


@pytest.fixture(scope="module")
def examinee(tmp_path_factory: pytest.TempPathFactory) -> Examinee:
    return Examinee(chat_model(tmp_path_factory.mktemp("asked") / "model"))


def rows_of(suite: Harness, root: Path, examinee: Examinee) -> list[Answered]:
    return [row for batch in suite.ask(examinee, suite.questions(root, examinee)) for row in batch]


@pytest.mark.parametrize("kind", [CHOICE, CLOZE, GENERATION])
def test_the_mean_of_the_rows_is_what_the_harness_itself_gives(
    tmp_path: Path, examinee: Examinee, kind: dict[str, Any]
) -> None:
    evaluator = pytest.importorskip("lm_eval.evaluator", reason=NEEDS)
    from lm_eval.models.huggingface import HFLM
    from lm_eval.tasks import TaskManager

    name = write_task(tmp_path, **{**dict.fromkeys(CHOICE), **kind})
    rows = rows_of(Harness(tasks=(name,)), tmp_path, examinee)
    files = {"data_files": {"test": str(tmp_path / "capitals.jsonl")}, "cache_dir": str(tmp_path / "cache")}
    expected = evaluator.simple_evaluate(
        model=HFLM(pretrained=examinee.network, tokenizer=examinee.tokenizer, batch_size=4),
        tasks=[{**kind, "task": "capitals", "dataset_kwargs": files}],
        task_manager=TaskManager(include_defaults=False),
        bootstrap_iters=0,
    )
    metric = rows[0].metric
    assert sum(row.score for row in rows) / len(rows) == expected["results"]["capitals"][f"{metric},none"]
    assert len({row.id for row in rows}) == len(rows) == 5
    assert {(row.suite, row.document) for row in rows} == {("harness/capitals", "Europe")}


def test_a_perplexity_is_the_probability_of_a_byte(tmp_path: Path, examinee: Examinee) -> None:
    pytest.importorskip("lm_eval", reason=NEEDS)
    name = write_task(tmp_path, **{**dict.fromkeys(CHOICE), **PERPLEXITY})
    rows = rows_of(Harness(tasks=(name,)), tmp_path, examinee)
    assert {row.metric for row in rows} == {"probability of a byte"}
    assert all(0.001 < row.score < 0.1 for row in rows)  # a random model of 260 tokens, each of them a byte


def test_shots_and_the_chat_template_reach_the_prompt(tmp_path: Path, examinee: Examinee) -> None:
    pytest.importorskip("lm_eval", reason=NEEDS)
    name = write_task(tmp_path, fewshot_split="test")
    suite = Harness(tasks=(name,), shots=2, chat=True, limit=2)
    assert len(rows_of(suite, tmp_path, examinee)) == 2


def test_a_limit_draws_the_same_questions_each_time(tmp_path: Path, examinee: Examinee) -> None:
    pytest.importorskip("lm_eval", reason=NEEDS)
    suite = Harness(tasks=(write_task(tmp_path),), limit=3)
    first = [question.id for question in suite.questions(tmp_path, examinee)]
    assert first == [question.id for question in suite.questions(tmp_path, examinee)]
    whole = rows_of(suite.model_copy(update={"limit": None}), tmp_path, examinee)
    drawn = rows_of(suite, tmp_path, examinee)
    assert {row.id: row.score for row in drawn}.items() <= {row.id: row.score for row in whole}.items()
    assert len(drawn) == 3


@pytest.mark.parametrize("template", ["{{ ''.__class__.__mro__[1].__subclasses__() }}", "{{ q.__init__.__globals__ }}"])
def test_a_template_reaches_no_python(tmp_path: Path, examinee: Examinee, template: str) -> None:
    pytest.importorskip("lm_eval", reason=NEEDS)
    suite = Harness(tasks=(write_task(tmp_path, doc_to_text=template),))
    with pytest.raises(ValueError, match="unsafe"):
        rows_of(suite, tmp_path, examinee)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"metric_list": [{"metric": "a/b", "aggregation": "mean", "higher_is_better": True}]},
            "none of the harness's own",
        ),
        ({"output_type": "dance"}, "the harness cannot read it"),
        ({"doc_to_text": "{{missing}}"}, "the harness cannot read it"),
    ],
)
def test_what_the_harness_cannot_read_is_told(
    tmp_path: Path, examinee: Examinee, changes: dict[str, Any], message: str
) -> None:
    pytest.importorskip("lm_eval", reason=NEEDS)
    with pytest.raises(ValueError, match=message):
        Harness(tasks=(write_task(tmp_path, **changes),)).questions(tmp_path, examinee)


@pytest.mark.slow
def test_an_unknown_name_is_answered_with_those_near_it(tmp_path: Path, examinee: Examinee) -> None:
    pytest.importorskip("lm_eval", reason=NEEDS)
    with pytest.raises(ValueError, match=r"no task 'arc_esay'; near it: .*arc_easy"):
        Harness(tasks=("arc_esay",)).questions(tmp_path, examinee)


def test_without_the_library_it_says_what_to_install(
    tmp_path: Path, examinee: Examinee, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "lm_eval.api.metrics", None)
    with pytest.raises(ValueError, match=r"pip install 'perennial\[harness\]'"):
        Harness(tasks=(write_task(tmp_path),)).questions(tmp_path, examinee)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"group": "all"}, "found group"),
        ({"unsafe_code": True}, "found unsafe_code"),
        ({"dataset_kwargs": {"trust_remote_code": True}}, "trust_remote_code would run code"),
        ({"dataset_path": "pandas"}, "dataset_path: wanted json"),
        ({"dataset_path": "../there/it"}, "dataset_path: wanted json"),
        ({"dataset_kwargs": {"data_files": "capitals.jsonl"}}, "wanted {split: file}"),
        ({"dataset_kwargs": {"data_files": {"test": "../../x.jsonl"}}}, "leads out of the workspace"),
        ({"dataset_kwargs": {"data_files": {"test": "none.jsonl"}}}, "no such file"),
        ({"metric_list": [{"metric": "bleu", "hf_evaluate": True}]}, "would fetch code"),
        ({"include": "../base.yaml"}, "leads out of the workspace"),
        ({"include": "capitals.yaml"}, "includes itself"),
    ],
)
def test_a_task_file_may_not(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_task(tmp_path, write_task(tmp_path, **changes), "suite harness")


PYTHON = "def shout(doc):\n    return doc['q'].upper()\n"


def test_python_of_a_file_runs_only_where_it_was_allowed(tmp_path: Path) -> None:
    name = write_task(tmp_path, doc_to_text=None)
    with (tmp_path / name).open("a", encoding="utf-8") as file:
        file.write("doc_to_text: !function own.shout\n")
    (tmp_path / "own.py").write_text(PYTHON, encoding="utf-8")
    with pytest.raises(ValueError, match=r"!function own.shout runs Python of a file; `functions: true` lets it"):
        read_task(tmp_path, name, "suite harness")
    task = read_task(tmp_path, name, "suite harness", functions=True)
    assert task.config["doc_to_text"]({"q": "Rome?"}) == "ROME?"
    assert {path.name for path in task.files} == {"capitals.yaml", "own.py", "capitals.jsonl"}


def test_a_file_stands_over_the_one_that_it_includes(tmp_path: Path) -> None:
    write_task(tmp_path, "base")
    (tmp_path / "mine.yaml").write_text("include: base.yaml\ndoc_to_text: 'Q: {{q}}'\n", encoding="utf-8")
    task = read_task(tmp_path, "mine.yaml", "suite harness")
    assert (task.config["task"], task.config["doc_to_text"]) == ("mine", "Q: {{q}}")
    assert task.config["output_type"] == "multiple_choice"


@pytest.mark.parametrize("touched", ["capitals.yaml", "capitals.jsonl"])
def test_the_digest_is_that_of_all_that_it_reads(tmp_path: Path, touched: str) -> None:
    suite = Harness(tasks=(write_task(tmp_path), "piqa"))
    before = suite.pinned(tmp_path).digests
    with (tmp_path / touched).open("ab") as file:
        file.write(b"\n")
    assert set(before) == {"capitals.yaml"}
    assert suite.pinned(tmp_path).digests["capitals.yaml"] != before["capitals.yaml"]


def test_questions_may_be_packed(tmp_path: Path, examinee: Examinee) -> None:
    pytest.importorskip("lm_eval", reason=NEEDS)
    name = write_task(tmp_path, dataset_kwargs={"data_files": {"test": "capitals.jsonl.gz"}})
    content = "".join(json.dumps(row) + "\n" for row in ROWS[:2]).encode()
    (tmp_path / "capitals.jsonl.gz").write_bytes(gzip.compress(content, mtime=0))
    assert len(Harness(tasks=(name,)).questions(tmp_path, examinee)) == 2


def sample(**values: Any) -> dict[str, Any]:
    return {"metrics": list(values), "filter": "none", **values}


@pytest.mark.parametrize(
    ("samples", "metric", "expected"),
    [
        ([sample(acc=1.0, acc_norm=0.0)], "", ("acc", 1.0)),
        ([sample(acc=1.0, acc_norm=0.0)], "acc_norm", ("acc_norm", 0.0)),
        ([sample(perplexity=0.0, acc=0)], "", ("acc", 0.0)),
        ([sample(f1=(0, 1), exact_match=True)], "", ("exact_match", 1.0)),
        (
            [sample(exact_match=0), {**sample(exact_match=1), "filter": "loose"}],
            "exact_match,loose",
            ("exact_match", 1.0),
        ),
        ([sample(byte_perplexity=(0.0, 9))], "", ("probability of a byte", 1.0)),
    ],
)
def test_one_metric_counts(samples: Sequence[dict[str, Any]], metric: str, expected: tuple[str, float]) -> None:
    assert scored(samples, metric, "here") == expected


def test_a_task_without_a_score_in_range_is_refused() -> None:
    with pytest.raises(ValueError, match="for each question, found bleu,none"):
        scored([sample(bleu=37.5)], "", "here")
