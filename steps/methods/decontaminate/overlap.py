"""A document goes that shares one run of words with an item."""

from collections.abc import Iterable, Sequence
from typing import ClassVar

from pydantic import Field

from steps.core.documents import Item
from steps.core.grams import grams_held, grams_of_items, items_held
from steps.core.method import Cite
from steps.core.simplify import simplified
from steps.core.texts import Texts
from steps.core.tokens import tokenise
from steps.methods.decontaminate import Decontaminate, Grams, Hits
from steps.methods.decontaminate._shared import in_one

NOTHING_COMMON = 2**62


class Overlap(Decontaminate):
    """A document contains an item if both hold the same run of words, as datatrove's decontamination has it.

    Rule:       one common run of `ngram_words` words is enough; texts are simplified (lower case, numbers 0, no
                punctuation, no diacritics) and cut into words as spaCy cuts English
    Differs:    the source tells an item's query from its label and takes the label's runs and those across both
                (find_query_ngrams off, find_overlap_ngrams on). An item here is one text, so all its runs count: that
                is both switches on. The source names the task of the first run found; here the item is named of whose
                runs the document holds the largest share, of equals the first by its identifier. As there, an item of
                fewer words than a run is not looked for.
    Reduces to: `coverage` on these words at coverage -> 0, nothing common, no short items
    """

    cite: ClassVar[Cite] = Cite(
        title="datatrove: n-gram decontamination",
        id="huggingface/datatrove",
        where="0.10.1, pipeline/decont/n_grams.py",
        checked="code",
    )

    ngram_words: int = Field(12, ge=1, description="length of the runs that are compared, words")

    def grams_of(self, items: Iterable[Item]) -> Grams:
        """The runs of the items, each item once."""
        texts = {item.id: item.text for item in items}
        names = tuple(sorted(texts))
        words = tokenise(*simplified(Texts([texts[name] for name in names])))
        size = self.ngram_words
        return Grams(names, grams_of_items(words.hashes, words.texts, size, size, whole=False))

    def hits(self, texts: Texts, grams: Grams) -> Hits:
        """The runs that each text holds."""
        words = tokenise(*simplified(texts))
        return Hits(*grams_held(words.hashes, words.texts, grams.arrays))

    def verdicts(self, batches: Sequence[Hits], sizes: Sequence[int], grams: Grams) -> dict[int, str]:
        """The documents that hold a run of an item."""
        rows, held = in_one(batches, sizes)
        found, items = items_held(rows, held, grams.arrays, 0.0, NOTHING_COMMON, 0)
        return {row: grams.items[item] for row, item in zip(found.tolist(), items.tolist(), strict=True)}
