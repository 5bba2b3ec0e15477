"""What can be seen of an answer by a program: pure functions of the answer and what was asked for."""

import json
import re
from collections.abc import Callable
from typing import Any

WORDS = re.compile(r"[^\W_]+(?:['’-][^\W_]+)*")
SENTENCES = re.compile(r"[.!?]+(?=\s|$|[\"”'’)])")
BULLET = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+\S", re.MULTILINE)
FENCE = re.compile(r"^```\w*\s*\n(.*?)\n?```$", re.DOTALL)


def _within(count: int, bounds: Any) -> bool:
    """Whether a count is a number, or within [least, most]; null: no bound."""
    if isinstance(bounds, int):
        return count == bounds
    least, most = bounds
    return (least is None or count >= least) and (most is None or count <= most)


def words(answer: str, bounds: Any) -> bool:
    """So many words."""
    return _within(len(WORDS.findall(answer)), bounds)


def sentences(answer: str, bounds: Any) -> bool:
    """So many sentences; what ends without a full stop is one as well."""
    ended = SENTENCES.sub("\n", answer)
    return _within(sum(bool(WORDS.search(part)) for part in ended.split("\n")), bounds)


def lines(answer: str, bounds: Any) -> bool:
    """So many lines that are not blank."""
    return _within(sum(bool(line.strip()) for line in answer.splitlines()), bounds)


def bullets(answer: str, bounds: Any) -> bool:
    """So many lines that begin with a bullet or a number."""
    return _within(len(BULLET.findall(answer)), bounds)


def paragraphs(answer: str, bounds: Any) -> bool:
    """So many paragraphs, with a blank line between them."""
    return _within(sum(bool(part.strip()) for part in re.split(r"\n\s*\n", answer)), bounds)


def letters(answer: str, kind: str) -> bool:
    """All `lower` or all `upper` case."""
    return answer == (answer.lower() if kind == "lower" else answer.upper())


def contains(answer: str, wanted: list[str]) -> bool:
    """All of these occur, in whatever case."""
    return all(one.casefold() in answer.casefold() for one in wanted)


def contains_any(answer: str, wanted: list[str]) -> bool:
    """One of these occurs, in whatever case."""
    return any(one.casefold() in answer.casefold() for one in wanted)


def lacks(answer: str, unwanted: list[str]) -> bool:
    """None of these occurs, in whatever case."""
    return not contains_any(answer, unwanted)


def times(answer: str, wanted: dict[str, int]) -> bool:
    """Each of these words occurs so often."""
    said = [word.casefold() for word in WORDS.findall(answer)]
    return all(said.count(word.casefold()) == count for word, count in wanted.items())


def starts(answer: str, wanted: str) -> bool:
    """It begins so, in whatever case."""
    return answer.strip().casefold().startswith(wanted.casefold())


def ends(answer: str, wanted: str) -> bool:
    """It ends so, in whatever case."""
    return answer.strip().casefold().endswith(wanted.casefold())


def only(answer: str, wanted: list[str]) -> bool:
    """It is one of these and nothing else; case and punctuation at its ends do not count."""
    return answer.strip(" \n\t.!\"'*").casefold() in [one.casefold() for one in wanted]


def quoted(answer: str, wanted: bool) -> bool:
    """It stands, as a whole, in double quotation marks."""
    said = answer.strip()
    return (len(said) > 2 and said[0] in '"“' and said[-1] in '"”') == wanted


def json_with(answer: str, keys: list[str]) -> bool:
    """It is JSON and nothing else; an object with these keys, if any are wanted. A code fence around it is let pass."""
    said = answer.strip()
    fenced = FENCE.match(said)
    try:
        found = json.loads(fenced[1] if fenced else said)
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict | list) and (not keys or (isinstance(found, dict) and set(keys) <= set(found)))


def matches(answer: str, pattern: str) -> bool:
    """A regular expression is found in it."""
    return re.search(pattern, answer) is not None


CHECKS: dict[str, Callable[[str, Any], bool]] = {
    "words": words,
    "sentences": sentences,
    "lines": lines,
    "bullets": bullets,
    "paragraphs": paragraphs,
    "letters": letters,
    "contains": contains,
    "contains_any": contains_any,
    "lacks": lacks,
    "times": times,
    "starts": starts,
    "ends": ends,
    "only": only,
    "quoted": quoted,
    "json": json_with,
    "matches": matches,
}


def share_held(answer: str, checks: dict[str, Any]) -> float:
    """The share of checks that an answer passes; none of an answer without a word, whatever was asked for."""
    if not WORDS.search(answer):
        return 0.0
    return sum(CHECKS[name](answer, wanted) for name, wanted in checks.items()) / len(checks)


def held_by(answer: str, checks: dict[str, Any]) -> str:
    """What an answer passed and what not, in words."""
    said = bool(WORDS.search(answer))
    return ", ".join(f"{name}: {'yes' if said and CHECKS[name](answer, checks[name]) else 'no'}" for name in checks)
