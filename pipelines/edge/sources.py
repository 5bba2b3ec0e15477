"""What a version trained on, counted in documents by task, licence and language; and what its whole line did."""

from collections import Counter
from collections.abc import Iterable, Mapping

from pydantic import Field

from steps.core.artifacts import Buffer, Chosen, Frozen, TrainingSet
from steps.core.documents import Document
from steps.core.shards import read_lines
from steps.core.state import buffer_documents, read_counted
from steps.core.workspace import Workspace

SOURCES = "lineage/sources.json"  # in the run of a version
HUB = "hf:"  # how the source of a row of the Hugging Face hub begins
Counts = dict[str, dict[str, int]]  # task -> licence -> documents


class Sources(Frozen):
    """Documents in the training set of one version, and documents that its line learned as new so far."""

    new: Counts = Field(description="task -> licence -> documents trained on as new")
    replayed: Counts = Field(description="task -> licence -> documents drawn as replay")
    languages: dict[str, int] = Field(description="ISO 639-1 code -> documents, new and replayed")
    datasets: tuple[str, ...] = Field((), description="data sets of the hub that documents came from; of the line")
    line: Counts = Field(default_factory=dict, description="as `new`, of this version and all before it")
    line_replayed: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="task -> licences of what was replayed by this version or one before it"
    )
    whole: bool = Field(True, description="no version before it lacks this count")

    @property
    def licences(self) -> list[str]:
        """Every licence of a text that the line trained on."""
        learned = (licence for counts in self.line.values() for licence in counts)
        return sorted({*learned, *(licence for found in self.line_replayed.values() for licence in found)})


def count_sources(
    workspace: Workspace, chosen: Chosen, buffer: Buffer, training_set: TrainingSet, before: Sources | None, parent: str
) -> Sources:
    """Count the documents of a training set. `before` is the parent's count; none: it has none, or is the base."""
    wanted: dict[str, set[tuple[str, str]]] = {}
    for row in read_lines(workspace.at(training_set.path) / "used.jsonl"):
        wanted.setdefault(row["source"], set()).add((row["key"], row["content_hash"]))
    new: Counts = {}
    replayed: Counts = {}
    languages: Counter[str] = Counter()
    datasets: set[str] = set()

    def count(counts: Counts, source: str, documents: Iterable[Document]) -> None:
        used, task = wanted.get(source, set()), source.partition("/")[2]
        for document in documents:
            if (document.key, document.content_hash) in used:
                counts.setdefault(task, {}).setdefault(document.licence, 0)
                counts[task][document.licence] += 1
                languages[document.language] += 1
                datasets.update(_dataset(document.source))

    place = workspace.at(chosen.path)
    held: dict[str, list[Document]] = {}
    if any(source.startswith("replay/") for source in wanted):
        for document in buffer_documents(workspace, buffer).values():
            held.setdefault(document.task, []).append(document)
    for task in chosen.tasks:
        if task.role == "replay-only":
            here = {document.key: document for document in read_counted(place / task.name)}
            older = (document for document in held.get(task.name, []) if document.key not in here)
            held[task.name] = [*older, *here.values()]
        else:
            count(new, f"new/{task.name}", read_counted(place / task.name))
    for name, documents in held.items():
        count(replayed, f"replay/{name}", documents)
    return Sources(
        new=_in_order(new),
        replayed=_in_order(replayed),
        languages=dict(sorted(languages.items())),
        datasets=tuple(sorted(datasets | set(before.datasets if before else ()))),
        line=_in_order(_added(before.line if before else {}, new)),
        line_replayed=_united(before.line_replayed if before else {}, replayed),
        whole=before.whole if before else parent == "base",
    )


def _dataset(source: str) -> set[str]:
    """The data set of the hub that a source names: `hf:NAME[:CONFIG[:SPLIT]][@REVISION]`."""
    return {source.removeprefix(HUB).partition("@")[0].partition(":")[0]} if source.startswith(HUB) else set()


def _in_order(counts: Mapping[str, Mapping[str, int]]) -> Counts:
    return {task: dict(sorted(counts[task].items())) for task in sorted(counts)}


def _added(first: Counts, second: Counts) -> Counts:
    found = {task: Counter(counts) for task, counts in first.items()}
    for task, counts in second.items():
        found.setdefault(task, Counter()).update(counts)
    return {task: dict(counts) for task, counts in found.items()}


def _united(before: Mapping[str, Iterable[str]], replayed: Counts) -> dict[str, tuple[str, ...]]:
    tasks = sorted({*before, *replayed})
    return {task: tuple(sorted({*before.get(task, ()), *replayed.get(task, ())})) for task in tasks}
