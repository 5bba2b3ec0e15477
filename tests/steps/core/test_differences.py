from steps.core.differences import Changes, Contrast, Divergence, LayerChange

LAYER = LayerChange(
    layer=3, norm=0.5, relative=None, effective_rank=None, intruders=None, num_matrices=7, num_decomposed=0
)


def test_what_changed_is_read_back_from_a_record_as_it_was_written() -> None:
    apart = Divergence(nats_per_token=0.25, error_nats=None, num_items=1, num_tokens=60)
    changes = Changes(
        digest="d",
        path="data/compare",
        whole=LAYER.model_copy(update={"layer": None}),
        layers=(LAYER,),
        divergence={"base": {"docs": apart}},
        contrasts=(Contrast(task="docs", text="the → list", gap_nats=1.5),),
    )
    assert Changes.model_validate_json(changes.model_dump_json()) == changes


def test_nothing_need_have_been_compared() -> None:
    empty = Changes.model_validate({"digest": "d", "path": "data/compare"})
    assert (empty.whole, empty.layers, empty.divergence, empty.contrasts) == (None, (), {}, ())
