import numpy as np

from steps.core.cutter import HASH_BASE, hash_characters
from steps.core.tokens import code_points


def test_the_hash_of_joined_words_follows_from_theirs() -> None:
    codes, _ = code_points(["onetwo"])
    one, two, both = (int(hash_characters(codes, *span)) for span in ((0, 3), (3, 6), (0, 6)))
    assert (one * int(HASH_BASE) ** 3 + two) % 2**64 == both
    assert hash_characters(codes, 0, 0) == np.uint64(0)
