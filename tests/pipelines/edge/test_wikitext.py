import pytest

from pipelines.edge.wikitext import is_disambiguation, to_prose


@pytest.mark.parametrize(
    ("markup", "prose"),
    [
        ("'''Bold''' and ''italic''", "Bold and italic"),
        ("a [[link]], [[target|label]], [[pair (x)|]]", "a link, label, pair"),
        ("see [http://x.org the site] and [http://x.org]", "see the site and"),
        ("one<ref name=a>{{cite|x=[[y]]}}</ref> two<ref name=b/> three<!-- no -->", "one two three"),
        ("{{Infobox|a={{nested|b}}|c=[[d]]}}Text", "Text"),
        ("before\n{| class=x\n| cell {{t|}}\n{|\n| inner\n|}\n|}\nafter", "before\n\nafter"),
        ("[[File:a.jpg|thumb|a [[caption]] here]]Text[[Category:Things]][[de:Ding]]", "Text"),
        ("{{convert|10|km|mi}} of {{lang|fr|route}}, {{nowrap|one way}}", "10 km of route, one way"),
        ("Name ({{IPA|x}}; born 1900) is&nbsp;1&ndash;2", "Name (born 1900) is 1–2"),
        ("H<sub>2</sub>O<br />next", "H2O\nnext"),
        ("if <math>a_{{1}} < b</math> then", "if $a_{{1}} < b$ then"),
        ("<nowiki>[[kept]]</nowiki>", "[[kept]]"),
        ("* one\n** two\n: three", "- one\n- two\nthree"),
        ("{{unclosed text stays", "unclosed text stays"),
    ],
)
def test_markup_becomes_prose(markup: str, prose: str) -> None:
    assert to_prose(markup) == prose


def test_headings_stay_as_lines_and_sections_without_prose_go() -> None:
    markup = "Intro\n== History ==\nOld\n== See also ==\n* x\n=== Sub ===\ny\n"
    markup += "== Empty ==\n{{t}}\n== Uses ==\nMany\n==Notes=="
    assert to_prose(markup) == "Intro\n\nHistory\n\nOld\n\nUses\n\nMany"


def test_a_page_of_meanings_is_told_from_an_article() -> None:
    assert is_disambiguation("'''A''' may be:\n* [[b]]\n{{Disambig}}")
    assert not is_disambiguation("A is a letter. {{Other uses}}")
