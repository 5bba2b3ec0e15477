from io import StringIO

from rich.console import Console

from pipelines.verdicts import explanation

RULES = [
    {"rule": "quality/basic", "verdict": "drop", "reason": "too-short", "found": 13, "limit": 40},
    {"rule": "quality/c4", "verdict": "pass", "at": [3, 8], "excerpt": ["be\n", "bad", "after"], "found": 0.25},
    {"rule": "dedup", "verdict": "drop", "reason": "near-duplicate", "of": "b"},
]


def printed(*found: dict[str, object]) -> str:
    console = Console(width=140, record=True, file=StringIO())
    console.print(explanation(found))
    return console.export_text()


def test_every_rule_has_its_line() -> None:
    lines = printed({"key": "a", "verdict": "too-short", "rules": RULES}).splitlines()
    assert lines[0] == "a: too-short"
    assert [word.strip() for word in lines[4].split("│")[1:-1]] == [
        "quality/basic",
        "drop",
        "too-short",
        "13",
        "40",
        "",
    ]
    assert "3 to 8: be⏎badafter" in lines[5]
    assert "near-duplicate of b" in lines[6]


def test_a_record_that_is_no_document_is_told_too() -> None:
    text = printed({"where": "f.jsonl:2", "verdict": "quarantined: not-json", "excerpt": "{"})
    assert "f.jsonl:2: quarantined: not-json" in text
    assert "no records" in printed()
