"""How the report of clean looks."""

from pipelines.edge.clean_style import STYLE


def test_it_knows_light_and_dark_and_asks_nobody() -> None:
    assert "prefers-color-scheme:dark" in STYLE
    assert "url(" not in STYLE
    assert "@import" not in STYLE
    assert "</style" not in STYLE
