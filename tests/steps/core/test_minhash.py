import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from steps.core.minhash import PRIME, Banding, band_hashes, clusters, permutations, signatures
from steps.core.texts import Texts

CORPORA = Path(__file__).resolve().parents[4] / "shared" / "corpora"
FOX = "The quick brown fox jumps over the lazy dog, again and again: 12.5 times."


def read(name: str) -> list[dict[str, object]]:
    path = CORPORA / f"{name}.jsonl.gz"
    if not path.exists():
        pytest.skip(f"{path} is not here")
    with gzip.open(path, "rt", encoding="utf-8") as file:
        return [json.loads(line) for line in file]


def test_the_permutations_are_datatroves() -> None:
    a, b = permutations(112, seed=1)
    assert a[:3].tolist() == [775169054918279404, 1758426461858698313, 2109959069025162]
    assert b[:3].tolist() == [1062448801025099917, 1324811268927594100, 1217488311597731462]
    assert (a[111], b[111]) == (223865076026037746, 1097409548522419201)


def test_a_signature_is_the_least_of_each_permutation() -> None:
    a, b = permutations(112, seed=1)
    value = 10121740836305097868  # XXH64 of `a b c d e`
    (found,) = signatures(Texts(["A b? c\nd é"]))
    assert found.tolist() == [(value * int(x) + int(y)) % 2**64 % PRIME for x, y in zip(a, b, strict=True)]


def test_a_text_with_fewer_words_than_a_run_is_in_no_bucket() -> None:
    assert not band_hashes(Texts(["a b c d", "", "..."])).any()
    assert band_hashes(Texts(["a b c d"]), Banding(shingle_words=4)).all()


def test_case_numbers_and_punctuation_are_not_compared() -> None:
    one, other, third = band_hashes(Texts([FOX, FOX.upper().replace("12.5", "7").replace(":", " --"), FOX + " No."]))
    assert (one == other).all()
    assert (one != third).any()


def test_a_text_is_signed_the_same_in_any_batch() -> None:
    texts = [FOX, "naïve café " * 20, "日本語 の 文章 を 五つ 以上 書く", FOX * 30, "x"]
    together = band_hashes(Texts(texts))
    assert (together == np.concatenate([band_hashes(Texts([text])) for text in texts])).all()


@pytest.mark.parametrize(("shared", "low", "high"), [(0.9, 0.97, 1.0), (0.5, 0.0, 0.12)])
def test_texts_meet_as_often_as_banding_says(shared: float, low: float, high: float) -> None:
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    rng = np.random.default_rng(7)
    texts = []
    for _ in range(200):
        words = ["".join(row) for row in rng.choice(letters, (400, 12))]
        cut = round(300 * (1 - shared) / (1 + shared))  # of 300 words the other text has so many others
        texts += [" ".join(words[:300]), " ".join(words[cut : 300 + cut])]
    bands = band_hashes(Texts(texts), Banding(shingle_words=1))
    assert low <= (bands[::2] == bands[1::2]).any(axis=1).mean() <= high


def test_rows_that_share_a_bucket_are_one_cluster_named_by_its_first() -> None:
    bands = np.array([[9, 9], [1, 2], [3, 4], [5, 2], [5, 6], [9, 8], [0, 0], [0, 0], [2, 1]], dtype=np.uint64)
    assert clusters(bands).tolist() == [0, 1, 2, 1, 1, 0, 6, 7, 8]


def test_a_chain_is_one_cluster_whatever_its_order() -> None:
    rng = np.random.default_rng(3)
    bands = np.zeros((1000, 2), dtype=np.uint64)
    order = rng.permutation(1000)
    bands[order[:-1], 0] = np.arange(1, 1000) // 2 + 1
    bands[order[1:], 1] = np.arange(1, 1000) // 2 + 1
    groups = clusters(bands)
    for column in bands.T:
        for value in np.unique(column[column > 0]):
            assert len(set(groups[column == value].tolist())) == 1
    assert all(groups[group] == group <= row for row, group in enumerate(groups.tolist()))


def test_nothing_has_no_clusters() -> None:
    assert clusters(np.zeros((0, 14), dtype=np.uint64)).tolist() == []
    assert clusters(np.zeros((2, 0), dtype=np.uint64)).tolist() == [0, 1]


def test_a_row_that_does_not_count_joins_nobody() -> None:
    bands = np.array([[5, 6], [5, 7], [9, 7]], dtype=np.uint64)
    assert clusters(bands).tolist() == [0, 0, 0]
    assert clusters(bands, np.array([True, False, True])).tolist() == [0, 1, 2]
    assert bands[1].tolist() == [5, 7], "what was given stays as it is"


def test_what_is_near_enough_in_a_real_list_is_found() -> None:
    rows = read("dirty_near_duplicates")
    groups = clusters(band_hashes(Texts([str(row["text"]) for row in rows]))).tolist()
    place = {row["id"]: number for number, row in enumerate(rows)}
    pairs = {(place[row["id"]], place[other]) for row in rows for other in row["near_dup_ids"]}  # type: ignore[attr-defined]
    found = sum(groups[one] == groups[other] for one, other in pairs)
    assert found / len(pairs) > 0.98


@pytest.mark.slow
@pytest.mark.parametrize("name", ["dirty_near_duplicates", "dirty_mojibake", "dirty_web_pages", "general"])
def test_signatures_are_datatroves(name: str) -> None:
    module = pytest.importorskip("datatrove.pipeline.dedup.minhash")
    import xxhash

    theirs = module.MinhashDedupSignature("unused", module.MinhashConfig())
    theirs._hash_func = lambda text: xxhash.xxh64_intdigest(text.encode())  # it hands over str: xxhash 3 took that
    texts = [str(row["text"]) for row in read(name)][:1500]
    different = []
    for number, (text, mine) in enumerate(zip(texts, signatures(Texts(texts)), strict=True)):
        shingles = theirs.get_shingles(text)
        wanted = np.concatenate(theirs.get_signature(shingles)) if len(shingles) else np.array([2**64 - 1] * 112)
        if mine.tolist() != wanted.tolist():
            different.append(number)
    assert different == []
