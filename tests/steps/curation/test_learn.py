import json
from collections.abc import Mapping
from pathlib import Path

from steps.core.artifacts import Buffer
from steps.curation.chain import Chain
from steps.curation.learn import learn
from tests.builders import build_model, build_texts, build_workspace, empty, prose


def test_what_rules_learn_of_a_task_lies_in_its_folder_with_what_they_say_of_it(tmp_path: Path) -> None:
    workspace = build_workspace(tmp_path)
    menu = "Home | About | Contact | Imprint"
    pages: Mapping[str, str] = {f"k{n}": f"{menu}\n{prose(n)}" for n in range(12)}
    corpus = {"topics": build_texts(workspace, pages)}
    chain = Chain.model_validate({"quality": [{"method": "basic"}, {"method": "repeated-lines"}]})
    folder = learn(workspace, chain, corpus, "topics", empty(Buffer), build_model(workspace))
    assert folder == workspace.path / "learned" / "topics"
    assert (folder / "quality" / "repeated-lines" / "lines.npy").exists()
    figures = json.loads((folder / "figures.json").read_text(encoding="utf-8"))
    assert figures["quality/basic"] == {}
    assert figures["quality/repeated-lines"]["repeated_lines"] == 1
