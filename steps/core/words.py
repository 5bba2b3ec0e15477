"""What cutting texts into words takes and gives; in a file of its own, so that compiled code can name it."""

from typing import NamedTuple

import numpy as np


class Words(NamedTuple):
    """The words of N texts, in order."""

    texts: np.ndarray  # int64 [N + 1]: text i has the words [texts[i], texts[i + 1])
    begin: np.ndarray  # int64 [W]: first character of a word, as an index of the code points
    end: np.ndarray  # int64 [W]: one past its last
    flags: np.ndarray  # uint8 [W]: IS_SYMBOL (only of symbols), HAS_ALPHABETIC, IS_SENTENCE_END, IS_PUNCTUATION
    hashes: np.ndarray  # uint64 [W]: of its characters, see `hash_of`


class Tables(NamedTuple):
    """What the compiled functions look things up in."""

    classes: np.ndarray  # uint32 [1114112]: bits of each code point
    keys: np.ndarray  # uint64: hashes of special cases, open addressing
    rows: np.ndarray  # int64: the special case's row, -1: empty
    rules: np.ndarray  # int64 [S, MAX_PARTS]: lengths of its parts
    patterns: np.ndarray  # int64 [S, MAX_PARTS]: lengths of the words that it is found across
    ending_keys: np.ndarray  # uint64: hashes of what is split off after a digit
    ending_rows: np.ndarray
