from itertools import pairwise

import pytest

from steps.core.simplify import simplified
from steps.core.texts import Texts


def simple(*texts: str) -> list[str]:
    codes, offsets = simplified(Texts(texts))
    return ["".join(map(chr, codes[a:b].tolist())) for a, b in pairwise(offsets)]


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("", ""),
        (" \n", ""),
        ("  The  CAT,\n\tsat! ", "the cat sat"),
        ("1,234.5 and 7", "0 0 and 0"),
        ("3.14 2. 4", "0 0 0"),
        ("1٫5", "0"),
        ("a٫b", "a٫b"),
        ("٣٤", "0"),
        ("Café Ångström", "cafe angstrom"),
        ("cafe\u0301", "cafe"),
        ("İstanbul", "istanbul"),
        ("ΟΔΟΣ ΣΑΣ", "οδος σας"),
        ("각", "\u1100\u1161\u11a8"),
        ("don't…stop", "don t stop"),
        ("\ud800x", "\ud800x"),
        ("𝒳 ﬁ", "𝒳 ﬁ"),
    ],
)
def test_a_text_as_it_is_compared(text: str, plain: str) -> None:
    assert simple(text) == [plain]


def test_texts_do_not_touch() -> None:
    assert simple("a 1", "", ".5 b ", " c") == ["a 0", "", "0 b", "c"]


@pytest.mark.slow
def test_every_character_becomes_what_datatrove_makes_of_it() -> None:
    text = pytest.importorskip("datatrove.utils.text")
    codes = [code for code in range(0x110000) if not 0xD800 <= code < 0xE000]
    newer = {code for code in codes if text.NUMBERS_PATTERN.fullmatch(chr(code)) and not chr(code).isdecimal()}
    assert min(newer) >= 0x10D40, "digits that this Python does not know yet, but the package regex does"
    for before, after in (("a", "b"), ("1", "2"), (" ", " ")):
        texts = [before + chr(code) + after for code in codes if code not in newer]
        wanted = [text.simplify_text(it) for it in texts]
        different = [it for it, mine, theirs in zip(texts, simple(*texts), wanted, strict=True) if mine != theirs]
        assert different == []
