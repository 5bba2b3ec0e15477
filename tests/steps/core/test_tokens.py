import gzip
import json
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from steps.core.cutter import HAS_ALPHABETIC, IS_PUNCTUATION, IS_SENTENCE_END, IS_SYMBOL
from steps.core.tokens import code_points, hash_of, tokenise

CORPORA = Path(__file__).resolve().parents[4] / "shared" / "corpora"


def words_of(*texts: str) -> list[list[str]]:
    codes, offsets = code_points(texts)
    words = tokenise(codes, offsets)
    joined = "".join(texts)
    found = [joined[begin:end] for begin, end in zip(words.begin, words.end, strict=True)]
    return [found[first:last] for first, last in pairwise(words.texts)]


@pytest.mark.parametrize(
    ("text", "words"),
    [  # as spaCy's documentation and tests have them
        ("Let's go to N.Y.!", "Let 's go to N.Y. !"),
        ("I don't can't won’t", "I do n't ca n't wo n’t"),
        ("(Mr. O'Neill's cat)...", "( Mr. O'Neill 's cat ) ..."),
        ("well-known, non-U.S. firms", "well - known , non - U.S. firms"),
        ("It costs $5.50 or 10km/h.", "It costs $ 5.50 or 10 km/h ."),
        ("See http://example.com/a,b?c=1, or me@example.org.", "See http://example.com/a,b?c=1 , or me@example.org ."),
        ("x@192.168.1.1/a-b and x@8.8.8.8/a-b", "x@192.168.1.1 / a - b and x@8.8.8.8/a-b"),
        ("Hello.World 1-2 a,b x=y 3+4", "Hello . World 1 - 2 a , b x = y 3 + 4"),
        ("happy:) and sad :(", "happy :) and sad :("),
        ("\u2003spaces\r\n\nof all\x1ckinds", "spaces of all kinds"),
    ],
)
def test_words_are_cut_as_spacy_cuts_them(text: str, words: str) -> None:
    assert words_of(text) == [words.split()]


def test_texts_are_cut_each_by_itself() -> None:
    assert words_of("do", "n't", "", " ", "ok.") == [["do"], ["n't"], [], [], ["ok", "."]]


def test_each_word_says_what_it_is() -> None:
    words = tokenise(*code_points(["Stop !? 42 ..."]))
    assert words.flags.tolist() == [
        HAS_ALPHABETIC,
        IS_SYMBOL | IS_SENTENCE_END | IS_PUNCTUATION,
        IS_SYMBOL | IS_SENTENCE_END | IS_PUNCTUATION,
        0,
        IS_SYMBOL | IS_PUNCTUATION,
    ]
    assert words.hashes[0] == hash_of("Stop")
    assert len(set(words.hashes.tolist())) == 5


@pytest.mark.slow
@pytest.mark.skipif(not CORPORA.exists(), reason="the development corpora are not in this checkout")
def test_the_words_of_real_text_are_those_of_spacy() -> None:
    spacy = pytest.importorskip("spacy", reason="spaCy is not installed: make test-all installs it")
    counts: Counter[str] = Counter()
    for file in sorted(path for kind in ("general", "dirty", "domain") for path in CORPORA.glob(f"{kind}*.gz")):
        with gzip.open(file, "rt", encoding="utf-8") as lines:
            for line in lines:
                counts.update(json.loads(line)["text"].split())
    pieces = list(counts)
    tokenizer = spacy.blank("en").tokenizer
    ours = words_of(*pieces)
    same = sum(
        counts[piece] for piece, words in zip(pieces, ours, strict=True) if words == [*map(str, tokenizer(piece))]
    )
    assert same / counts.total() > 0.999
