import gzip
import json
from pathlib import Path

import pytest

from steps.core.documents import Item
from steps.core.texts import Texts
from steps.methods.decontaminate.coverage import Coverage
from steps.methods.decontaminate.overlap import Overlap

CORPORA = Path(__file__).resolve().parents[5] / "shared" / "corpora"
TWELVE = "Every morning Anna's 3 dogs, old and loud, wake the street"  # simplified: 12 words
ITEM = TWELVE + " up again"


def contained(method: Overlap | Coverage, texts: list[str], items: dict[str, str]) -> dict[int, str]:
    grams = method.grams_of(Item(id=name, task="exam", document=name, text=text) for name, text in items.items())
    return method.verdicts([method.hits(Texts(texts), grams)], [len(texts)], grams)


def test_one_run_is_enough_and_a_shorter_one_is_not() -> None:
    texts = [f"So. {TWELVE.upper()}?", TWELVE.replace("3", "7,5"), TWELVE.replace("street", "town"), ITEM]
    assert contained(Overlap(), texts, {"a": ITEM}) == {0: "a", 1: "a", 3: "a"}


def test_an_item_of_fewer_words_than_a_run_is_not_looked_for() -> None:
    assert contained(Overlap(), ["one two three"], {"a": "one two three"}) == {}
    assert contained(Overlap(ngram_words=3), ["one two three"], {"a": "one two three"}) == {0: "a"}


def test_however_common_a_run_is_it_counts() -> None:
    assert contained(Overlap(), [ITEM] * 20, {"a": ITEM}) == dict.fromkeys(range(20), "a")


def test_it_is_coverage_without_a_share() -> None:
    words = [f"{a}{b}" for a in "bcdfg" for b in "aeiou"]
    texts = [" ".join(words[at : at + 13]) + " end" for at in range(0, 12, 3)] + [" ".join(words[:11])]
    items = {"a": " ".join(words[:20]), "b": " ".join(words[5:])}
    loose = Coverage(ngram_words=12, coverage=1e-9, common_documents=10**9, short_item_words=0)
    assert contained(Overlap(), texts, items) == contained(loose, texts, items) != {}


@pytest.mark.slow
def test_the_verdicts_are_datatroves() -> None:
    module, text = pytest.importorskip("datatrove.pipeline.decont.n_grams"), pytest.importorskip("datatrove.utils.text")
    import xxhash
    from datatrove.data import Document

    path = CORPORA / "general.jsonl.gz"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        texts = [json.loads(line)["text"] for line in file][:600]
    items = {str(number): own[:300] for number, own in enumerate(texts[::20])}
    theirs = module.NGramsDecontFilter("unused")
    theirs.hash_func = lambda run: xxhash.xxh64_intdigest(run.encode())  # it hands over str: xxhash 3 took that
    theirs._index_hashes = {
        theirs.hash_func(" ".join(run)): name
        for name, own in items.items()
        for run in text.ngrams(theirs.tokenizer.word_tokenize(text.simplify_text(own)), 12)
    }
    wanted = {row for row, own in enumerate(texts) if theirs.filter(Document(text=own, id=str(row))) is not True}
    assert set(contained(Overlap(), texts, items)) == wanted
