"""reStructuredText: one file is one document, without its markup."""

import re
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any, ClassVar

from steps.core.method import Cite
from steps.methods.reader import Record, Rejected
from steps.methods.reader._guard import GuardedReader
from steps.methods.reader._shared import document, whole_text

ROLE = re.compile(r":([A-Za-z][\w.+:-]*?):`")
DIRECTIVE = re.compile(r"^[ \t]*\.\.[ \t]+(?:\|[^|\n]+\|[ \t]+)?([A-Za-z][\w.+:-]*?)[ \t]?::", re.MULTILINE)
OPTION = re.compile(r"\s*:[\w-]+:")
TARGET = re.compile(r"\s*<[^<>]*>$")
NO_TEXT = {"comment", "system_message", "substitution_definition", "target", "pending", "raw", "image", "meta"}
NO_TEXT |= {"footnote_reference", "citation_reference", "docinfo", "header", "footer", "generated"}
BLOCKS = {"paragraph", "title", "subtitle", "literal_block", "doctest_block", "line_block", "term", "rubric"}
BLOCKS |= {"caption", "attribution", "field_name", "option_group", "row", "math_block"}
MARKUP = re.compile(r"^(?::[\w.+:-]+:)?[`|*]+|[`|_*]+$")
NO_CONTENT = re.compile(r"toctree|index|highlight|default-role|(py:)?(current)?module|auto\w+|literalinclude|tocdepth")
CODE = ("code", "code-block", "sourcecode")  # Sphinx gives them options for which docutils refuses the whole block
VERSIONS = {"versionadded": "Added in version", "versionchanged": "Changed in version"}
VERSIONS |= {"deprecated": "Deprecated since version", "versionremoved": "Removed in version"}
QUIET = {
    "report_level": 5,
    "halt_level": 5,
    "file_insertion_enabled": False,  # `include` could read any file of this machine
    "raw_enabled": False,
    "smart_quotes": False,
    "docinfo_xform": False,
    "_disable_config": True,
    "warning_stream": False,
}


class Rst(GuardedReader):
    """One document per file.

    Rule: text = the blocks of docutils' document tree, joined by blank lines; list items begin with `- `, cells of a
    row are parted by tabs. Comments, targets, images and substitutions are left out.

    Roles and directives that docutils does not know, such as Sphinx's, keep their text: of a role what it shows, of a
    directive its arguments (a signature, a title) and its content. Nothing is included from other files. The file's
    path in the batch is the key.
    Reduces to: none (a file format).
    """

    cite: ClassVar[Cite] = Cite(title="Docutils", id="docutils/docutils", where="core.publish_doctree", checked="code")
    libraries: ClassVar[tuple[str, ...]] = ("docutils.core", "docutils.parsers.rst")

    def parse(self, file: Path, name: str) -> Iterator[Record | Rejected]:
        """The one document of a file."""
        from docutils.core import publish_doctree

        text = whole_text(file, self)
        if isinstance(text, Rejected):
            yield text
            return
        _know_all(text)
        tree = publish_doctree(text, settings_overrides={**QUIET, "line_length_limit": self.max_line_bytes})
        yield document("\n\n".join(_blocks(tree)), name)


def _blocks(node: Any) -> Iterator[str]:
    """The texts of a tree's blocks, in order; a bullet before the first block of an item."""
    for child in node.children:
        if child.tagname in NO_TEXT:
            continue
        if child.tagname in BLOCKS:
            text = _line(child)
            if text.strip():
                yield text
        elif child.tagname == "list_item":
            mark = "- "
            for block in _blocks(child):
                yield mark + block
                mark = ""
        else:
            yield from _blocks(child)


def _line(node: Any) -> str:
    """The text of one block, without what is no text."""
    if node.tagname == "problematic":  # a reference that nothing resolves
        return MARKUP.sub("", node.astext())
    if not node.children:
        return str(node.astext())
    if node.tagname == "row":
        return "\t".join(" ".join(_blocks(entry)).replace("\n", " ") for entry in node.children)
    apart = "\n" if node.tagname == "line_block" else ""
    return apart.join(_line(child) for child in node.children if child.tagname not in NO_TEXT)


def _know_all(text: str) -> None:
    """Register the roles and directives that a text uses and docutils does not have; forget those of other texts."""
    from docutils import nodes
    from docutils.parsers.rst import Directive, directives, roles
    from docutils.parsers.rst.languages import en

    def shown(_: str, raw: str, said: str, *__: Any, **___: Any) -> Any:
        said = nodes.unescape(said)
        said = (TARGET.sub("", said) or said).lstrip("!")
        return [nodes.inline(raw, said[1:].rpartition(".")[2] if said.startswith("~") else said)], []

    class Kept(Directive):
        optional_arguments, final_argument_whitespace, has_content = 1, True, True

        def run(self) -> list[nodes.Node]:
            if self.name in CODE:
                return [nodes.literal_block("", "\n".join(self.content))]
            kept = nodes.container()
            if NO_CONTENT.fullmatch(self.name):
                return []
            said = takewhile(lambda line: not OPTION.match(line), "\n".join(self.arguments).split("\n"))
            if argument := " ".join(" ".join(said).split()):
                kept += nodes.paragraph("", f"{VERSIONS.get(self.name, '')} {argument}".strip())
            self.state.nested_parse(self.content, self.content_offset, kept)
            return [kept]

    known_roles: dict[str, Any] = vars(roles)["_roles"]
    known_directives: dict[str, Any] = vars(directives)["_directives"]
    known_roles.clear()
    known_directives.clear()
    for role in {found.lower() for found in ROLE.findall(text)} - en.roles.keys():
        known_roles[role] = shown
    for directive in {found.lower() for found in DIRECTIVE.findall(text)} - en.directives.keys() | set(CODE):
        directives.register_directive(directive, Kept)
