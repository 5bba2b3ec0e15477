"""Edit or drop documents by small programs, from a file or written by a model."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import ClassVar, Self

from pydantic import Field, PrivateAttr, model_validator

from steps.core.documents import Document
from steps.core.method import Cite
from steps.core.models import digest_of_model, weight_files
from steps.core.shards import digest_of_file
from steps.methods.repair import Repair, Repaired
from steps.methods.repair._programs import Edited, execute, says_drop
from steps.methods.repair._refiner import Stage, load_refiner
from steps.methods.repair._stored import load_programs

PROMPT_TOKENS = {"document": 2000, "chunk": 1500}  # GAIR-NLP/ProX, data_gen/tasks/apply_{doc,chunk}_refining.py
NEW_TOKENS = {"document": 2000, "chunk": 256}


class Refine(Repair):
    r"""Run ProX's programs on documents: a document is dropped or kept, lines are removed, strings replaced.

    Rule:       stage `document`: a program that contains `drop` drops its document (`refine-drop`). Stage `chunk`: one
                operation a line, `remove_lines(line_start=a, line_end=b)` (from 0 on, both ends included),
                `remove_lines(all=True)`, `normalize(source_str="...")`, `normalize(source_str="...", target_str="...")`
                (the latter ignored for an empty or one-space source); any other line keeps. Replacements act at once,
                removals after them. With rho = words after / words before and e errors, in this order: (1) rho <= 1 -
                threshold_2 and e < error_op: drop (`refine-emptied`); (2) words after <= min_words: drop
                (`refine-short`); (3) rho >= threshold_1 and e < error_op: the edited text; (4) else the original.
                Errors: an operation that does not parse, and, once overlapping and touching intervals are merged, one
                that reaches beyond the last line (what lies within is removed).
    Units:      words are separated by white space; limits of a prompt are tokens of the refiner
    Differs:    an operation that does not parse is one error and does nothing: the source drops the last character
                where a parenthesis is missing, as in a program that was cut off, and goes on. Commas, `=`, brackets and
                quotes may stand in a string, which is taken letter for letter, as in the source: no escapes, so no
                operation moves a line break or a line's number. A replacement that makes the text more than twice as
                long is an error, and so is a negative line number. Rho of a text without words is 1. Prompts are cut
                in the text, never in the template, and a special token that a text spells is broken up. Rule 2 comes
                before 4, as in the source, so a short text goes even when its program is broken; min_words 0 leaves
                only empty ones to it.
    Reduces to: every text unchanged without programs (exact)
    """

    cite: ClassVar[Cite] = Cite(
        title="Programming Every Example: Lifting Pre-training Data Quality like Experts at Scale",
        id="arXiv:2409.17115",
        where="GAIR-NLP/ProX, utils/{doc,chunk}_utils.py, data_gen/tasks/apply_{doc,chunk}_refining.py",
        checked="code",
    )

    stage: Stage = Field(description="document: drop or keep; chunk: edit lines and strings")
    programs: str | None = Field(None, description="JSON lines {key, content_hash?, program}, path in the workspace")
    refiner: str | None = Field(None, description="folder of the model that writes programs, path in the workspace")
    digest: str | None = Field(None, description="SHA-256 of the programs' file, or the refiner's digest; none: any")
    prompt_tokens: int | None = Field(None, ge=32, description="tokens of a prompt or chunk; none: 2000 or 1500")
    new_tokens: int | None = Field(None, ge=1, description="tokens of a program at most; none: 2000 or 256")
    threshold_1: float = Field(0.0, ge=0, le=1, description="least share of the words that an edit may leave, of 1")
    threshold_2: float = Field(0.95, ge=0, le=1, description="share of the words whose removal drops a document, of 1")
    error_op: int = Field(2, ge=1, description="errors that break a program")
    min_words: int = Field(10, ge=0, description="a document of so many words or fewer goes, words")

    _root: Path | None = PrivateAttr(None)
    _device: str = PrivateAttr("cpu")

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        if (self.programs is None) == (self.refiner is None):
            raise ValueError("repair/refine: wanted either programs or refiner; give exactly one")
        path = PurePosixPath(self._path)
        if path.is_absolute() or ".." in path.parts or not path.parts:
            raise ValueError(f"repair/refine: wanted a path inside the workspace, found {self._path!r}")
        return self

    @property
    def _path(self) -> str:
        return self.programs or self.refiner or ""

    def pinned(self, root: Path) -> Self:
        """The same method, with the digest of its programs or refiner."""
        path = root / self._path
        if self.digest or not path.exists():  # what is not there is refused when it is located
            return self
        return self.model_copy(update={"digest": digest_of_file(path) if self.programs else digest_of_model(path)})

    def located(self, root: Path, device: str = "cpu") -> Self:
        """The same method, which knows the workspace; what it reads must be there, with the digest that was given."""
        path = (root / self._path).resolve()
        if not path.is_relative_to(root.resolve()):
            raise ValueError(f"repair/refine: {self._path} leads out of the workspace, to {path}; copy it there")
        if not (path.is_file() if self.programs else path.is_dir()):
            raise ValueError(f"repair/refine: wanted {'a file' if self.programs else 'a folder'} {path}, found none")
        found = (digest_of_file(path) if self.programs else digest_of_model(path)) if self.digest else None
        if found != self.digest:
            raise ValueError(f"repair/refine: {self._path}: wanted digest {self.digest}, found {found}; correct either")
        copy = self.model_copy()
        copy._root, copy._device = root, device
        return copy

    def repair(self, documents: Sequence[Document]) -> list[Repaired]:
        """Run the program of each document; one without a program, or a labelled record, is left as it is."""
        assert self._root is not None, "refine: located() tells it where the workspace is before it is run"
        path = self._root / self._path
        if self.programs:
            stored = load_programs(path, path.stat().st_mtime_ns, path.stat().st_size)
            found = [stored.program(document) for document in documents]
        else:
            stamp = max(file.stat().st_mtime_ns for file in weight_files(path))
            refiner = load_refiner(path, stamp, self._device)
            prompt = self.prompt_tokens or PROMPT_TOKENS[self.stage]
            new = self.new_tokens or NEW_TOKENS[self.stage]
            found = [
                refiner.program(self.stage, it.text, prompt, new) if it.text and not it.messages else None
                for it in documents
            ]
        return [
            Repaired(document.text) if program is None or document.messages else self._refined(document.text, program)
            for document, program in zip(documents, found, strict=True)
        ]

    def _refined(self, text: str, program: str) -> Repaired:
        if self.stage == "document":
            return Repaired("", "refine-drop") if says_drop(program) else Repaired(text)
        edited = execute(program, text)
        before, after = len(text.split()), len(edited.text.split())
        rho = after / before if before else 1.0
        sound = edited.num_errors < self.error_op
        if rho <= 1 - self.threshold_2 and sound:
            return Repaired("", "refine-emptied", _changes(edited))
        if after <= self.min_words:
            return Repaired("", "refine-short", _changes(edited))
        if rho >= self.threshold_1 and sound:
            return Repaired(edited.text, changes=_changes(edited))
        return Repaired(text, changes={"errors": edited.num_errors})


def _changes(edited: Edited) -> dict[str, int]:
    every = {"lines": edited.num_removed, "strings": edited.num_replaced, "errors": edited.num_errors}
    return {kind: count for kind, count in every.items() if count}
