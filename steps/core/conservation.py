"""The conservation law: no record is lost or counted twice."""

from collections.abc import Mapping

from steps.core.artifacts import Corpus, Holdout, Kept


def conservation(corpus: Mapping[str, Corpus], holdout: Holdout, kept: Kept, task: str) -> None:
    """Check that no record of a task was lost or counted twice.

    Raises:
        AssertionError: landed is not kept + held out + dropped + quarantined + superseded.
    """
    parts = {
        "kept": kept.kept[task],
        "held out": holdout.held_out[task],
        "dropped": sum(kept.dropped[task].values()),
        "quarantined": sum(corpus[task].quarantined.values()),
        "superseded": kept.superseded[task],
    }
    landed = corpus[task].num_landed
    told = " + ".join(f"{name} {count:,}" for name, count in parts.items())
    assert sum(parts.values()) == landed, (
        f"{task}: {landed:,} records landed, but {told} = {sum(parts.values()):,}; this is a fault of perennial, not "
        "of the data: report it with the recipe"
    )
