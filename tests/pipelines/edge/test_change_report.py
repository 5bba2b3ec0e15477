"""What a person is told of what changed in the model."""

from pipelines.edge.change_report import change_metrics, changes_report, contrast_rows, contrast_table
from steps.core.differences import Changes, Contrast, Divergence, LayerChange


def layer(number: int | None, relative: float | None, **others: object) -> LayerChange:
    known = {"norm": relative, "effective_rank": 12.4, "intruders": 2, "num_matrices": 7, "num_decomposed": 7}
    return LayerChange.model_validate({"layer": number, "relative": relative, **known, **others})


def kl(nats: float, error: float | None = 0.01) -> Divergence:
    return Divergence(nats_per_token=nats, error_nats=error, num_items=8, num_tokens=400)


FULL = Changes(
    digest="d",
    path="data/compare",
    whole=layer(None, 0.0123),
    layers=(layer(0, 0.01), layer(1, 0.05), layer(None, 0.9)),
    farthest={"layers.1.v_proj": 0.08, "layers.0.q_proj": 0.02},
    divergence={"base": {"general": kl(0.21)}, "parent": {"general": kl(0.034, None)}},
    contrasts=(Contrast(task="docs", text="The list →  is a\nmutable | sequence", gap_nats=1.234),),
)


def test_the_page_tells_weights_words_and_texts() -> None:
    text = changes_report(FULL)
    assert text.startswith("\n### What changed in the model\n")
    assert (
        "the update's norm is 1.2 % of the parent's; farthest: `layers.1.v_proj` 8 %, `layers.0.q_proj` 2 %\n" in text
    )
    assert "about 12 directions (effective rank, mean); 2 intruder dimensions\n" in text
    assert "KL from the base in nats per token: general 0.210 ± 0.010" in text
    assert "KL from its parent in nats per token: general 0.034\n" in text
    assert "| docs | +1.23 | The list → is a mutable \\| sequence |" in text


def test_a_part_that_was_decomposed_is_said_to_be_one() -> None:
    part = FULL.model_copy(update={"whole": layer(None, 0.01, num_matrices=70)})
    assert "2 intruder dimensions (in 7 of 70 matrices)" in changes_report(part)
    none = FULL.model_copy(update={"whole": layer(None, 0.01, effective_rank=None, intruders=None)})
    assert "effective rank" not in changes_report(none)


def test_before_the_first_version_the_base_is_told_of_once() -> None:
    first = FULL.model_copy(update={"divergence": {"base": {"a": kl(0.2)}, "parent": {"a": kl(0.2)}}})
    assert changes_report(first).count("KL from") == 1


def test_nothing_compared_is_nothing_told() -> None:
    empty = Changes(digest="d", path="data/compare")
    assert changes_report(empty) == ""
    assert change_metrics(empty) == {}
    assert contrast_table(empty)["data"] == []


def test_unchanged_and_broken_weights_are_told_of() -> None:
    still = FULL.model_copy(update={"whole": layer(None, 0.0, norm=0.0)})
    assert "weights: none changed" in changes_report(still)
    broken = FULL.model_copy(update={"whole": layer(None, None)})
    assert "weights: some are no numbers" in changes_report(broken)
    assert "norm" not in change_metrics(broken)


def test_charts_get_one_number_of_each_kind_and_kl_by_task() -> None:
    assert change_metrics(FULL) == {
        "relative_norm": 0.0123,
        "norm": 0.0123,
        "effective_rank": 12.4,
        "intruders": 2.0,
        "kl_base_general": 0.21,
        "kl_parent_general": 0.034,
        "gap": 1.234,
    }


def test_a_text_is_one_line_of_a_table_and_no_longer_than_it_shows() -> None:
    long = FULL.model_copy(update={"contrasts": (Contrast(task="docs", text="word " * 100, gap_nats=0.5),)})
    (row,) = contrast_rows(long)
    assert len(row["text"]) == 180
    assert row["text"].endswith("…")
    assert contrast_table(long) == {"columns": ["task", "gap", "text"], "data": [["docs", 0.5, row["text"]]]}
