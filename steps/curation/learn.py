"""What rules learn before they judge: each from the texts that it trusts, and from those of the task."""

import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from steps.core.artifacts import Buffer, Corpus, Model
from steps.core.documents import read_documents
from steps.core.shards import write_json
from steps.core.state import buffer_documents
from steps.core.workspace import Workspace
from steps.curation.chain import Chain, named
from steps.methods.quality import Around


def learn(
    workspace: Workspace, chain: Chain, corpus: Mapping[str, Corpus], task: str, buffer: Buffer, model: Model
) -> Path:
    """Let the rules learn for a task; returns the folder of what they learned, with what they say of it."""

    def texts(names: Sequence[str]) -> Iterator[str]:
        for document in buffer_documents(workspace, buffer).values():
            if not names or document.task in names:
                yield document.text
        for name in names:
            if name in corpus:
                yield from sample(name)

    def sample(name: str = task) -> Iterator[str]:
        return (document.text for document in read_documents(workspace.at(corpus[name].path)))

    learned, figures = workspace.path / "learned" / task, {}
    shutil.rmtree(learned, ignore_errors=True)
    for name, rule in zip(named("quality", chain.quality), chain.quality, strict=True):
        (learned / name).mkdir(parents=True)
        around = Around(learned / name, texts, sample, workspace.at(model.path), workspace.seed, workspace.device)
        figures[name] = dict(rule.learn(around))
    write_json(learned / "figures.json", figures)
    return learned
