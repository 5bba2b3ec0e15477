"""Programs that edit a document, after ProX: parsed by a grammar and executed, never evaluated."""

import re
from dataclasses import dataclass

MAX_LINE = 20_000  # characters of an operation
MAX_GROWTH = 2  # a text grows to this many times its length at most: replacements of replacements double it each time
SPACE = r"[ \t]*+"
ALL = re.compile(rf"remove_lines{SPACE}\({SPACE}all{SPACE}={SPACE}True{SPACE}\)\s*")
LINES = re.compile(
    rf"remove_lines{SPACE}\({SPACE}line_start{SPACE}={SPACE}(\d{{1,9}}){SPACE},"
    rf"{SPACE}line_end{SPACE}={SPACE}(\d{{1,9}}){SPACE}\)\s*"
)
SOURCE = re.compile(rf"normalize{SPACE}\({SPACE}source_str{SPACE}={SPACE}([\"'])")
TARGET = re.compile(rf"{SPACE},{SPACE}target_str{SPACE}={SPACE}([\"'])")
CLOSE = re.compile(rf"{SPACE}\)\s*")


@dataclass(frozen=True, slots=True)
class Edited:
    """What a program makes of a text."""

    text: str
    num_errors: int = 0
    num_removed: int = 0  # lines
    num_replaced: int = 0  # occurrences


def says_drop(program: str) -> bool:
    """Whether a program of the document stage drops its document: it contains `drop`; anything else keeps it."""
    return "drop" in program


def execute(program: str, text: str) -> Edited:
    """Run a program of the chunk stage, one operation a line, on a text.

    Normalisations act at once; line removals are collected and applied afterwards. A line that begins with neither
    operation keeps. An operation that does not parse is an error and does nothing.
    """
    longest = MAX_GROWTH * max(len(text), MAX_LINE)
    num_errors = num_replaced = 0
    whole, intervals = False, []
    for line in program.strip(" ").split("\n"):
        if line.startswith("remove_lines"):
            if len(line) <= MAX_LINE and (found := LINES.fullmatch(line)):
                intervals.append((int(found[1]), int(found[2])))
            elif len(line) <= MAX_LINE and ALL.fullmatch(line):
                whole = True
            else:
                num_errors += 1
        elif line.startswith("normalize"):
            pair = _strings(line)
            if pair is None:
                num_errors += 1
                continue
            source, target = pair
            if not source or (source == " " and target is not None):
                continue
            count = text.count(source)
            if len(text) + count * (len(target or "") - len(source)) > longest:
                num_errors += 1
                continue
            num_replaced += count
            text = text.replace(source, target or "")
    lines = text.split("\n")
    gone = set(range(len(lines))) if whole else set()
    for begin, end in _merged(intervals):
        num_errors += end >= len(lines) or begin >= len(lines)
        gone.update(range(begin, min(end + 1, len(lines))))
    rest = "\n".join(line for number, line in enumerate(lines) if number not in gone)
    return Edited(rest, num_errors, len(gone), num_replaced)


def _strings(line: str) -> tuple[str, str | None] | None:
    """The source and the target, if any, of a normalisation; none if it does not parse.

    A string is what stands between its quotes, letter for letter. The source ends at the first quote after which the
    rest of the line is `)`, or a target and `)`; so commas, `=`, brackets and quotes may stand inside.
    """
    start = SOURCE.match(line)
    if start is None or len(line) > MAX_LINE:
        return None
    place = start.end()
    while (place := line.find(start[1], place)) >= 0:
        source = line[start.end() : place]
        place += 1
        if CLOSE.fullmatch(line, place):
            return source, None
        target = TARGET.match(line, place)
        if target and (last := line.rfind(target[1])) >= target.end() and CLOSE.fullmatch(line, last + 1):
            return source, line[target.end() : last]
    return None


def _merged(intervals: list[tuple[int, int]]) -> list[tuple[int, int]]:
    """Intervals by their starts, those that overlap or touch made one."""
    merged: list[tuple[int, int]] = []
    for begin, end in sorted(intervals, key=lambda pair: pair[0]):
        if merged and begin <= merged[-1][1] + 1:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((begin, end))
    return merged
