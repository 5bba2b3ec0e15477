"""MediaWiki markup to plain prose: paragraphs and headings stay, furniture goes."""

import html
import re
from collections.abc import Callable

FURNITURE = re.compile(  # sections that are no prose
    r"(see also|references|external links?|further reading|notes|footnotes|bibliography|sources|citations|gallery|"
    r"works cited|notes and references|references and notes|citations and notes|other uses|image gallery)",
    re.IGNORECASE,
)
DISAMBIGUATION = re.compile(r"\{\{\s*(disambig|disambiguation|dab|hndis|geodis|surname|given name)\b", re.IGNORECASE)
HEADING = re.compile(r"^(={1,6})\s*(.+?)\s*\1\s*$")
BRACKETS = re.compile(r"\{\{|\}\}|\[\[|\]\]|^[ :*]*\{\||^ *\|\}(?!\})", re.MULTILINE)
CLOSES = {"}}": "{{", "]]": "[[", "|}": "{|"}
NAMESPACES = re.compile(r"^\s*(file|image|category|template|[a-z]{2,3}|zh-[a-z-]+|simple)\s*:", re.IGNORECASE)
SISTERS = re.compile(r"^\s*:?(wikt|wiktionary|s|q|w|v|b|wikisource|wikiquote|category|file|image):", re.IGNORECASE)
GONE = r"gallery|timeline|imagemap|references|score|ref|hiero"  # elements that go with what they hold
ARGUMENT: dict[str, Callable[[list[str]], str]] = {  # templates that stand for words
    **dict.fromkeys(("lang", "transl", "convertabbr"), lambda a: a[-1]),
    **dict.fromkeys(
        ("nowrap", "small", "smaller", "big", "pipe", "abbr", "flag", "quote", "nihongo", "sic"), lambda a: a[0]
    ),
    **dict.fromkeys(("blockquote", "cquote", "visible anchor", "chem", "ship", "math", "mvar", "var"), lambda a: a[0]),
    **dict.fromkeys(("convert", "cvt"), lambda a: " ".join(a[:2]) if len(a) > 1 else a[0]),
    **dict.fromkeys(("circa", "c."), lambda a: f"c. {a[0]}".rstrip()),
    **dict.fromkeys(("as of",), lambda a: "As of " + "-".join(a[:3])),
    **dict.fromkeys(("frac", "sfrac"), "/".join),
    **dict.fromkeys(("angbr", "angle bracket"), lambda a: f"⟨{a[0]}⟩"),
    **dict.fromkeys(("val", "formatnum", "gaps"), lambda a: a[0]),
    **dict.fromkeys(("mdash", "em dash"), lambda _: "—"),
    **dict.fromkeys(("ndash", "snd", "spaced ndash", "en dash", "dash"), lambda _: " – "),
    **dict.fromkeys(("spaces", "nbsp", "space"), lambda _: " "),
    "'": lambda _: "'",
    "=": lambda _: "=",
    "!": lambda _: "|",
    "respell": lambda _: "",
}


def is_disambiguation(markup: str) -> bool:
    """Whether a page only lists what its title may mean."""
    return bool(DISAMBIGUATION.search(markup))


def to_prose(markup: str) -> str:
    """Plain text: paragraphs between blank lines, headings as lines, formulas as `$...$`."""
    kept: list[str] = []

    def keep(found: re.Match[str]) -> str:
        kept.append(f"${found[2].strip()}$" if found[1].lower() == "math" else found[2])
        return f"\0{len(kept) - 1}\0"

    text = re.sub(r"<!--.*?-->", "", markup.replace("\0", ""), flags=re.DOTALL)
    text = re.sub(r"<(math|nowiki|source|pre)\b[^<>/]*>(.*?)</\1\s*>", keep, text, flags=re.DOTALL | re.IGNORECASE)
    text = re.sub(rf"<({GONE})\b[^<>]*?/\s*>", "", text, flags=re.IGNORECASE)
    text = re.sub(rf"<({GONE})\b[^<>]*>.*?</\1\s*>", "", text, flags=re.DOTALL | re.IGNORECASE)
    text = _without_brackets(text)
    text = re.sub(r"\[(?:https?:|ftp:)?//[^\s\]]+\s*([^\]\n]*)\]", r"\1", text)
    text = re.sub(r"<br\s*/?\s*>", "\n", text, flags=re.IGNORECASE)
    text = re.sub(r"</?[a-zA-Z][^<>\n]*>", "", text)
    text = html.unescape(text)
    text = re.sub(r"'{2,5}|__[A-Z]+__", "", text)
    text = re.sub(r"[\u00a0\u2002-\u200a\u202f]", " ", text)
    text = re.sub(r"\0(\d+)\0", lambda found: kept[int(found[1])], text)
    return _tidy(_without_furniture(text.split("\n")))


def _without_brackets(text: str) -> str:
    """Resolve templates, tables and links, innermost first; what is not closed stays as text."""
    frames: list[tuple[str, list[str]]] = [("", [])]
    position = 0
    for found in BRACKETS.finditer(text):
        frames[-1][1].append(text[position : found.start()])
        position, mark = found.end(), found[0].lstrip(" :*")
        if mark not in CLOSES:
            frames.append((mark, []))
        elif any(opened == CLOSES[mark] for opened, _ in frames):
            while True:
                opened, parts = frames.pop()
                inner = "".join(parts)
                if opened == CLOSES[mark]:
                    break
                frames[-1][1].append(inner)
            frames[-1][1].append({"{{": _template, "[[": _link}.get(opened, _table)(inner))
    frames[-1][1].append(text[position:])
    return "".join(part for _, parts in frames for part in parts)


def _table(_: str) -> str:
    return ""


def _template(inner: str) -> str:
    name, *arguments = inner.split("|")
    name, _, first = name.strip().lower().partition(":")
    arguments = [first] * bool(first) + [one.strip() for one in arguments]
    words = [one.removeprefix("1=") for one in arguments if not re.match(r"\s*[a-z][\w -]*=", one)]
    render = ARGUMENT.get(name) or (ARGUMENT["lang"] if name.startswith("lang-") else None)
    return render(words or [""]) if render else ""


def _link(inner: str) -> str:
    target, *labels = inner.split("|")
    if NAMESPACES.match(target) and not (labels and SISTERS.match(target) and target[0].lower() not in "fic"):
        return ""
    label = labels[-1] if labels else SISTERS.sub("", target)
    return label.strip() or re.sub(r"\s*\(.*\)|,.*", "", target)


def _without_furniture(lines: list[str]) -> list[str]:
    """Drop the sections that are no prose, and leave headings as plain lines between blank ones."""
    result: list[str] = []
    dropping = 0  # the level of the section that is being dropped
    for line in lines:
        heading = HEADING.match(line.strip())
        if heading:
            level = len(heading[1])
            if dropping and level > dropping:
                continue
            dropping = level if FURNITURE.fullmatch(heading[2]) else 0
            if not dropping:
                result += ["", f"\1{level}{heading[2]}", ""]
        elif not dropping:
            result.append(line)
    return result


def _tidy(lines: list[str]) -> str:
    """Close the holes that markup leaves, and drop headings with nothing below them."""
    result: list[str] = []
    for raw in [*lines, "\0010"]:
        line = re.sub(r"^[ :;]*[*#]+[ :;*#]*", "- ", raw)
        line = re.sub(r"^[:; ]+", "", line)
        line = re.sub(r"[ \t]+", " ", line)
        line = re.sub(r"([(\[])[\s;,:]+", r"\1", line)
        line = re.sub(r"[\s;,]+([)\]])", r"\1", line)
        line = re.sub(r"\s*(\(\)|\[\])", "", line)
        line = re.sub(r" +([,.;:])(?=\s|$)", r"\1", line).strip()
        if line.startswith("\1"):
            while result and (not result[-1] or (result[-1].startswith("\1") and result[-1][1] >= line[1])):
                result.pop()
            result += ["", line]
            continue
        if line.startswith(("|", "!")) or (line and not any(letter.isalnum() for letter in line)):
            continue
        result.append(line)
    text = "\n".join(line[2:] if line.startswith("\1") else line for line in result)
    return re.sub(r"\n{3,}", "\n\n", text).strip()
