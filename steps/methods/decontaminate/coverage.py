"""A document goes that covers much of an item."""

from collections.abc import Iterable, Sequence
from typing import ClassVar

from pydantic import Field

from steps.core.documents import Item
from steps.core.grams import grams_held, grams_of_items, items_held, plain_words
from steps.core.method import Cite
from steps.core.texts import Texts
from steps.methods.decontaminate import Decontaminate, Grams, Hits
from steps.methods.decontaminate._shared import in_one


class Coverage(Decontaminate):
    """A document contains an item if it holds at least a share of the item's runs of words.

    Rule:       words are `\\w+` in lower case. A document contains an item if it holds at least `coverage` of the
                item's distinct runs of `ngram_words` words, without those that more than `common_documents` documents
                of the task hold; or all its runs, common or not, if the item has at most `short_item_words` words; or
                if both have the same words throughout. The item of which most is held is named, of equals the first by
                its identifier.
    Differs:    an item of fewer than `ngram_words` words is one run of all its words; under `min_item_words` words only
                a document of the same words contains it, since such words stand in many a text.
    Reduces to: `overlap` on the same words at coverage -> 0, nothing common, no short items
    """

    cite: ClassVar[Cite] = Cite(
        title="Language Models are Few-Shot Learners",
        id="arXiv:2005.14165",
        where="app. C: 13-grams",
        checked="recalled",
    )

    ngram_words: int = Field(13, ge=1, description="length of the runs that are compared, words")
    coverage: float = Field(0.5, gt=0, le=1, description="share of an item's runs that gives a document away")
    common_documents: int = Field(5, ge=1, description="runs in more documents of the task than this are left out")
    short_item_words: int = Field(50, ge=0, description="up to this length an item counts if all of it is held, words")
    min_item_words: int = Field(8, ge=1, description="shorter items are not looked for within documents, words")

    def grams_of(self, items: Iterable[Item]) -> Grams:
        """The runs of the items, each item once."""
        texts = {item.id: item.text for item in items}
        names = tuple(sorted(texts))
        hashes, starts = plain_words(Texts([texts[name] for name in names]))
        return Grams(names, grams_of_items(hashes, starts, self.ngram_words, self.min_item_words, whole=True))

    def hits(self, texts: Texts, grams: Grams) -> Hits:
        """The runs that each text holds."""
        return Hits(*grams_held(*plain_words(texts), grams.arrays))

    def verdicts(self, batches: Sequence[Hits], sizes: Sequence[int], grams: Grams) -> dict[int, str]:
        """The documents that contain an item."""
        rows, held = in_one(batches, sizes)
        limits = (self.coverage, self.common_documents, self.short_item_words)
        found, items = items_held(rows, held, grams.arrays, *limits)
        return {row: grams.items[item] for row, item in zip(found.tolist(), items.tolist(), strict=True)}
