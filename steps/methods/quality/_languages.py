"""Parsers for `code`, each guarded: text is never executed, and nested or chained text never takes long."""

import ast
import json
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, NamedTuple

import yaml

Language = Literal["python", "json", "yaml", "toml"]
NAMES: Mapping[str, Language] = {
    "python": "python",
    "python3": "python",
    "py": "python",
    "json": "json",
    "yaml": "yaml",
    "yml": "yaml",
    "toml": "toml",
}
FENCE = re.compile(r" {0,3}(`{3,}|~{3,})[ \t]*([^\s`{]*)[^`]*")
BRACKET = re.compile(r"[\[\]{}]")
MAX_DEPTH = 100  # libyaml's time is quadratic in the depth of brackets, tomllib's in the length of a dotted key
MAX_BRACES = 20_000  # CPython's time is quadratic in the fields of an f-string
DOTTED_KEY = re.compile(rf"""\b(?:[\w"'-]++[ \t]*+\.[ \t]*+){{{MAX_DEPTH}}}""")
YAML = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
FAULTS = (SyntaxError, ValueError, RecursionError, MemoryError, yaml.YAMLError)  # JSON's and TOML's are ValueErrors


class Block(NamedTuple):
    """Code in a text: where it begins, and the languages of which it may be one."""

    begin: int
    code: str
    languages: tuple[Language, ...]

    def span(self, line: int) -> tuple[int, int]:
        """The characters of one of its lines (1, 2, ...), in the text."""
        lines = self.code.split("\n")
        line = min(max(1, line), len(lines))
        begin = self.begin + sum(len(one) + 1 for one in lines[: line - 1])
        return begin, begin + len(lines[line - 1])


def fenced(text: str, wanted: tuple[Language, ...]) -> Iterator[Block]:
    """The fenced blocks of a Markdown text that name a wanted language; one that is not closed reaches to the end."""
    place, begin, mark, language = 0, 0, "", None
    for line in text.splitlines(keepends=True):
        fence = FENCE.fullmatch(line.rstrip())
        if mark and fence and fence[1].startswith(mark) and not line.strip().strip(mark[0]):
            if language and language in wanted:
                yield Block(begin, text[begin:place], (language,))
            mark = ""
        elif not mark and fence:
            mark, begin, language = fence[1], place + len(line), NAMES.get(fence[2].lower())
        place += len(line)
    if mark and language and language in wanted:
        yield Block(begin, text[begin:], (language,))


def parse_python(code: str) -> ast.Module:
    """The syntax tree of a module."""
    if code.count("{") > MAX_BRACES:
        raise ValueError(f"more than {MAX_BRACES:,} braces")
    return ast.parse(code)


def parse_json(code: str) -> None:
    """An object or a list; numbers are not converted."""
    if not isinstance(json.loads(code, parse_int=str, parse_float=str, parse_constant=_no_constant), dict | list):
        raise ValueError("wanted an object or a list")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def parse_yaml(code: str) -> None:
    """Documents that are mappings or lists: their events, nothing is built."""
    depth = 0
    for bracket in BRACKET.finditer(code):
        depth += 1 if bracket[0] in "[{" else -1
        if depth > MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} brackets deep")
    is_root, num_roots = False, 0
    for event in yaml.parse(code, Loader=YAML):
        if is_root and not isinstance(event, yaml.MappingStartEvent | yaml.SequenceStartEvent):
            raise ValueError("wanted a mapping or a list")
        num_roots += is_root
        is_root = isinstance(event, yaml.DocumentStartEvent)
    if not num_roots:
        raise ValueError("wanted a mapping or a list, found nothing")


def parse_toml(code: str) -> None:
    """A TOML document with a key."""
    if DOTTED_KEY.search(code):
        raise ValueError(f"a key of more than {MAX_DEPTH} parts")
    if not tomllib.loads(code, parse_float=str):
        raise ValueError("wanted a key, found none")


def line_of(fault: BaseException) -> int:
    """The line (1, 2, ...) of a parser's complaint, 1 where it names none."""
    mark = getattr(fault, "problem_mark", None)
    return mark.line + 1 if mark else getattr(fault, "lineno", None) or 1


PARSERS: Mapping[Language, Callable[[str], Any]] = {
    "python": parse_python,
    "json": parse_json,
    "yaml": parse_yaml,
    "toml": parse_toml,
}
