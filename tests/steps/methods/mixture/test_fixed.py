import pytest

from steps.methods.mixture import Shares, Supply
from steps.methods.mixture.fixed import Fixed


def supply(**new: int) -> Supply:
    return Supply(
        new=new,
        replay={"general": 500},
        budget_tokens=1000,
        max_epochs=4,
        num_parameters=10,
        losses=dict,
        read=lambda fit: {},
    )


def test_replay_takes_its_share_and_new_text_goes_by_size() -> None:
    decided = Fixed(replay_share=0.25).decide(supply(law=300, code=100), seed=0)
    wanted = Shares(replay=0.25, new_weights={"law": 300, "code": 100}, replay_weights={"general": 500})
    assert decided.stages == (wanted,)


def test_new_text_can_be_shared_equally_or_as_stated() -> None:
    assert Fixed(new="equal").decide(supply(law=300, code=100), seed=0).stages[0].new_weights == {"law": 1, "code": 1}
    stated = Fixed(new={"law": 3.0, "code": 1.0}).decide(supply(law=300, code=100), seed=0)
    assert stated.stages[0].new_weights == {"law": 3, "code": 1}


@pytest.mark.parametrize("weights", [{"tax": 1.0}, {"law": 0.0}, {"law": 2.0, "code": -1.0}])
def test_weights_that_say_nothing_are_refused(weights: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=r"plan\.mixture\.new: wanted weights .* tasks of \['code', 'law'\]"):
        Fixed(new=weights).decide(supply(law=300, code=100), seed=0)
