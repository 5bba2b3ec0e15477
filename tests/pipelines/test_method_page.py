from pathlib import Path

import pytest

from pipelines.method_page import first_paragraph, limit, needs, page, source
from steps.core.method import load_method, method_names, slot_names

PAGE = Path(__file__).resolve().parents[2] / "docs" / "methods.md"


def test_the_page_is_what_the_methods_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run `perennial methods --markdown > docs/methods.md`"


@pytest.mark.parametrize("slot", slot_names())
def test_every_method_has_a_line_under_its_slot(slot: str) -> None:
    part = page().split(f"### `{slot}`\n")[1].split("\n#")[0]
    assert [line.split("`")[1] for line in part.splitlines() if line.startswith("| `")] == method_names(slot)


def test_a_line_says_what_the_class_says() -> None:
    gere = load_method("objective", "threshold-margin")
    assert source(gere).endswith("(https://github.com/Qznan/GeRe)")
    assert needs(gere).startswith("replayed text; the parent in memory; its forward pass")
    assert limit(gere) == (
        "the other objectives alone at weight 0 (exact); 0 at step 1, if training starts at the parent (exact)"
    )
    assert needs(load_method("schedule", "constant")) == "–"


def test_a_paragraph_ends_at_an_empty_line_and_has_no_breaks() -> None:
    assert first_paragraph("One\n    two.\n\n    Three.") == "One two."
