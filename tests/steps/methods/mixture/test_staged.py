from dataclasses import replace

import pytest
from pydantic import ValidationError

from steps.methods.mixture.fixed import Fixed
from steps.methods.mixture.staged import Staged
from steps.plan import PlanConfig, planned
from tests.steps.methods.mixture.test_fixed import supply

SUPPLY = supply(law=600, code=200)


def test_new_text_comes_first_and_general_text_with_a_little_of_it_second() -> None:
    config = PlanConfig(budget_tokens=1000, mixture=Staged(first_part=0.6, domain_share=0.1))
    shares = planned(config, SUPPLY, config.mixture.decide(SUPPLY, seed=0))
    assert shares.stages == (
        {"new/law": 450, "new/code": 150},  # 600 tokens, 3 to 1
        {"new/law": 30, "new/code": 10, "replay/general": 360},  # 400 tokens, a tenth of them new
    )
    assert shares.tokens == {"new/law": 480, "new/code": 160, "replay/general": 360}
    assert shares.replay_share == 0.36
    assert shares.told == (
        "staged: the first 60.0% of the budget replays 0.0%, the rest replays 90.0%; of the whole 36.0%",
    )


def test_the_first_stage_can_replay_too() -> None:
    decided = Staged(first_part=0.5, first_replay=0.2, domain_share=0.4).decide(SUPPLY, seed=0)
    assert [stage.replay for stage in decided.stages] == [0.2, 0.6]
    assert "of the whole 40.0%" in decided.told[0]


def test_a_first_stage_of_the_whole_budget_is_the_fixed_mixture() -> None:
    assert Staged(first_part=1, first_replay=0.3).decide(SUPPLY, seed=0) == Fixed(replay_share=0.3).decide(SUPPLY, 0)


@pytest.mark.parametrize("budget", [160, 1600])
def test_stages_with_one_share_give_the_tokens_of_the_fixed_mixture(budget: int) -> None:
    config = PlanConfig(budget_tokens=budget)
    twice = planned(config, SUPPLY, Staged(first_part=0.5, first_replay=0.25, domain_share=0.75).decide(SUPPLY, 0))
    once = planned(config, SUPPLY, Fixed(replay_share=0.25).decide(SUPPLY, 0))
    assert twice.tokens == once.tokens
    assert len(twice.stages) == 2


def test_the_second_stage_can_be_general_text_alone() -> None:
    config = PlanConfig(budget_tokens=1000, mixture=Staged(first_part=0.5, domain_share=0))
    shares = planned(config, SUPPLY, config.mixture.decide(SUPPLY, seed=0))
    assert shares.stages[1] == {"replay/general": 500}


def test_without_general_text_there_is_one_stage_and_it_is_said() -> None:
    decided = Staged(first_replay=0.2).decide(replace(SUPPLY, replay={}), seed=0)
    assert [stage.replay for stage in decided.stages] == [0]
    assert "nothing to replay, so there is no second stage" in decided.told[0]


def test_tasks_can_share_equally() -> None:
    assert Staged(tasks="equal").decide(SUPPLY, seed=0).stages[0].new_weights == {"law": 1, "code": 1}


def test_the_same_at_every_seed() -> None:
    assert Staged().decide(SUPPLY, seed=0) == Staged().decide(SUPPLY, seed=1)


@pytest.mark.parametrize("wrong", [{"first_part": 0}, {"first_part": 1.1}, {"first_replay": 1}, {"domain_share": -0.1}])
def test_knobs_outside_their_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        Staged.model_validate(wrong)
