"""Drop source code that does not parse, and code that a linter finds much wrong with."""

import ast
import warnings
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from pydantic import Field
from pyflakes import messages
from pyflakes.checker import Checker

from steps.core.method import Cite
from steps.core.texts import Texts
from steps.methods.quality import FIT, Judgement, Quality
from steps.methods.quality._languages import FAULTS, PARSERS, Block, Language, fenced, line_of

ELSEWHERE = (messages.UndefinedName, messages.UnusedImport, messages.UndefinedExport)  # may be in another block


class Parsed(NamedTuple):
    """What a parser and the linter say of a block."""

    broken_line: int = 0  # of the first language's complaint; 0: it parses
    findings: int = 0
    first_finding: int = 1  # its line
    linted_lines: int = 0  # that are not blank


class Code(Quality):
    """Drop documents whose code does not parse, or has too many lint findings.

    Rule:       the code of a document is its whole text (`where: text`, for tasks of source files), or the fenced
                blocks of its Markdown that name one of `languages` (`where: fences`; a document without one is fit). A
                block is broken when no parser of its languages takes it, or it is longer than `max_characters`. Python:
                the grammar of the Python that runs perennial; JSON, TOML: the standard library; YAML: libyaml's events
                (no tag is built, no alias expanded). In all but Python it must be a mapping or a list. Dropped when the
                broken share of the code's characters is above `max_broken_share` (`code-parse`), or pyflakes' findings
                for each non-blank line of Python above `max_findings_per_line` (`code-lint`).
    Units:      shares of 1; findings per line
    Differs:    nothing is executed, imported or compiled. In fences, names that are undefined or unused are no finding:
                another block may hold the rest. Other languages (SQL, C, JavaScript, ...) are not checked: none of
                perennial's libraries parses them. Almost any `word: text` is YAML, so of prose it says little.
    Reduces to: everything fit at max_broken_share 1 and max_findings_per_line none (exact)
    """

    cite: ClassVar[Cite] = Cite(
        title="Code that parses, and what pyflakes finds in it", id="ours", where="this file", checked="code"
    )

    where: Literal["text", "fences"] = Field("text", description="the whole text, or fenced blocks in Markdown")
    languages: tuple[Language, ...] = Field(("python",), min_length=1, description="a whole text may be any of them")
    max_broken_share: float = Field(0.0, ge=0, le=1, description="largest share of the code in broken blocks, of 1")
    max_findings_per_line: float | None = Field(0.1, ge=0, description="most lint findings per line; none: no linter")
    max_characters: int = Field(200_000, ge=1, description="longest block that is parsed, characters")

    def judge(self, texts: Texts, folder: Path) -> list[Judgement]:
        """Parse and lint the code of each text."""
        return [self._judge(text) for text in texts.texts]

    def _judge(self, text: str) -> Judgement:
        blocks = [Block(0, text, self.languages)] if self.where == "text" else list(fenced(text, self.languages))
        parsed = [(block, self._parse(block)) for block in blocks if block.code]
        if not parsed:
            return FIT
        broken = [(block, it.broken_line) for block, it in parsed if it.broken_line]
        share = sum(len(block.code) for block, _ in broken) / sum(len(block.code) for block, _ in parsed)
        if share > self.max_broken_share:
            block, line = broken[0]
            return Judgement("code-parse", share, self.max_broken_share, block.span(line))
        if self.max_findings_per_line is not None:
            rate = sum(it.findings for _, it in parsed) / max(1, sum(it.linted_lines for _, it in parsed))
            if rate > self.max_findings_per_line:
                block, line = next((block, it.first_finding) for block, it in parsed if it.findings)
                return Judgement("code-lint", rate, self.max_findings_per_line, block.span(line))
        return Judgement(found=share, limit=self.max_broken_share)

    def _parse(self, block: Block) -> Parsed:
        if len(block.code) > self.max_characters:
            return Parsed(broken_line=1)
        lines = []
        for language in block.languages:
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # an invalid escape is the document's matter
                    tree = PARSERS[language](block.code)
                    return self._lint(tree, block.code) if isinstance(tree, ast.Module) else Parsed()
            except FAULTS as fault:
                lines.append(line_of(fault))
        return Parsed(broken_line=lines[0])

    def _lint(self, tree: ast.Module, code: str) -> Parsed:
        if self.max_findings_per_line is None:
            return Parsed()
        ignored = ELSEWHERE if self.where == "fences" else ()
        found = [it for it in Checker(tree, filename="code", withDoctest=False).messages if not isinstance(it, ignored)]
        num_lines = sum(bool(line.strip()) for line in code.split("\n"))
        return Parsed(0, len(found), min((it.lineno for it in found), default=1), num_lines)
