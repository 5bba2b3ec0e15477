"""Refreshes of text, also in new versions, of prompts and completions, and of chats, by a model with a template."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from transformers import AutoTokenizer

from pipelines.edge.home import Home
from pipelines.edge.outcome import Outcome
from pipelines.edge.workspaces import make_workspace
from steps.core.shards import read_lines
from steps.core.streams import Streams
from tests.chat import CHATML
from tests.tiny_models import tiny_model
from tests.workspaces import land_rows, paragraphs, rows, run, tiny

pytestmark = pytest.mark.pipeline

TRAINED = {"questions", "statements", "talks"}
ROLES = dict.fromkeys(sorted(TRAINED), "train") | {"general": "replay-only"}


def parts(number: int, count: int) -> list[str]:
    """Nine words each, from a paragraph of the language reference."""
    words = paragraphs()[number].split()
    return [" ".join(words[9 * part : 9 * part + 9]) for part in range(count)]


def question(number: int) -> dict[str, Any]:
    prompt, completion = parts(number, 2)
    return {"key": f"questions/{number}", "prompt": prompt, "completion": completion}


def talk(number: int) -> dict[str, Any]:
    turns = zip(("user", "assistant", "user", "assistant"), parts(number, 4), strict=True)
    return {"key": f"talks/{number}", "messages": [{"role": role, "content": said} for role, said in turns]}


def renewed(number: int) -> dict[str, Any]:
    """A new version of a statement that landed before."""
    return {"key": f"statements/{number}", "text": paragraphs()[number] + " This was added later."}


@pytest.fixture(scope="module")
def refreshed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Home, list[Outcome]]:
    """A workspace after two refreshes: the second replays rows of the first."""
    folder = tmp_path_factory.mktemp("labelled")
    list(make_workspace(folder))
    tasks = {name: {"role": role, "licence": "PSF-2.0"} for name, role in ROLES.items()}
    (folder / "data" / "tasks.yaml").write_text(yaml.safe_dump({"tasks": tasks}, sort_keys=False), encoding="utf-8")
    base = tiny_model(folder / "base")
    (base / "chat_template.jinja").write_text(CHATML, encoding="utf-8")
    home = Home(folder)
    recipe = tiny(
        base="base",
        mix={"block_tokens": 256, "labelled": "chat", "mark_changes": True},
        train={"learning_rate": 2e-3, "objective": {"method": "weighted", "changed": 2.0}},
        gate={"min_items": 8},
    )
    outcomes = []
    for turn in range(2):
        land_rows(home, "general", rows("general", 40 * turn, 40))
        land_rows(home, "statements", [*rows("statements", 40 * turn, 40), *(renewed(n) for n in range(10 * turn))])
        land_rows(home, "questions", [question(80 + 60 * turn + n) for n in range(60)])
        land_rows(home, "talks", [talk(200 + 50 * turn + n) for n in range(50)])
        outcomes.append(run(home, recipe))
    return home, outcomes


def test_text_rows_and_chats_are_trained_together(refreshed: tuple[Home, list[Outcome]]) -> None:
    home, outcomes = refreshed
    assert [outcome.kind for outcome in outcomes] == ["accepted"] * 2, outcomes[-1].reasons
    made = json.loads((home.root / "data" / "mix" / "plan.json").read_text(encoding="utf-8"))
    assert made["achieved"] == made["planned"]
    assert set(made["sources"]) == {f"{kind}/{task}" for kind in ("new", "replay") for task in TRAINED} | {
        "replay/general"
    }
    assert set(made["labelled"]) == {f"{kind}/{task}" for kind in ("new", "replay") for task in ("questions", "talks")}
    assert all(told["padding_share"] < 0.5 for told in made["labelled"].values())


def test_what_new_versions_say_anew_is_marked(refreshed: tuple[Home, list[Outcome]]) -> None:
    home, _ = refreshed
    folder = home.root / "data" / "mix"
    made = json.loads((folder / "plan.json").read_text(encoding="utf-8"))
    used = {row["key"] for row in read_lines(folder / "used.jsonl") if row["source"] == "new/statements"}
    again = {f"statements/{number}" for number in range(10)} & used
    assert again
    assert made["changes"]["with_older"] == len(again)
    number = made["sources"].index("new/statements")
    streams = Streams(folder, len(made["sources"]))
    draws = np.array([(number, block, 0, 0) for block in range(streams.shapes()[number][0])], dtype=np.int32)
    found = streams.read(draws)
    assert found.changed is not None
    said = AutoTokenizer.from_pretrained(home.root / "base").decode(found.input_ids[found.changed])
    assert set(said.split("Thiswasaddedlater.")) == {""}


def test_every_task_is_learnt(refreshed: tuple[Home, list[Outcome]]) -> None:
    _, (first, _) = refreshed
    changes = {row.task: row.high for row in first.rows}
    assert set(changes) >= TRAINED
    assert all(high is not None and high < 0 for task, high in changes.items() if task in TRAINED)


def test_used_rows_are_in_the_buffer_as_they_landed(refreshed: tuple[Home, list[Outcome]]) -> None:
    home, _ = refreshed
    segment = home.root / "data" / "replay" / "segment" / "added.jsonl"
    held = {row["key"]: row for row in read_lines(Path(segment))}
    found = [row for key, row in held.items() if key.startswith("questions/")]
    assert found
    for row in found:
        prompt, completion = parts(int(row["key"].removeprefix("questions/")), 2)
        assert [(turn["role"], turn["content"]) for turn in row["messages"]] == [
            ("prompt", prompt),
            ("completion", completion),
        ]
        assert row["num_tokens"] == len(completion.encode())  # a byte is a token
