import numpy as np

from steps.core.minhash import band_hashes
from steps.core.texts import Texts
from steps.methods.dedup.minhash import Minhash

SONG = "We shall sing of the hills and of the sea until the morning comes and all the boats are home again"


def meet(method: Minhash, one: str, other: str) -> bool:
    a, b = method.sign(Texts([one, other]))
    return bool(((a == b) & (a != 0)).any())


def test_a_text_with_one_word_changed_meets_it_and_another_does_not() -> None:
    long = " ".join(f"{word}{number}" for number in range(8) for word in SONG.split())
    assert meet(Minhash(), long, long.replace("sea3", "lake"))
    assert not meet(Minhash(), long, " ".join(reversed(long.split())))


def test_by_default_it_is_datatroves() -> None:
    texts = Texts([SONG, "too short"])
    assert (Minhash().sign(texts) == band_hashes(texts)).all()
    assert Minhash().sign(texts).shape == (2, 14)
    assert Minhash().sign(texts).dtype == np.uint64


def test_with_many_rows_only_equal_sets_of_runs_meet() -> None:
    strict = Minhash(bands=1, rows=200)
    assert meet(strict, SONG, SONG.upper())
    assert not meet(strict, SONG, SONG + " tomorrow")


def test_another_seed_gives_other_buckets() -> None:
    assert not (Minhash(seed=2).sign(Texts([SONG])) == Minhash().sign(Texts([SONG]))).any()
