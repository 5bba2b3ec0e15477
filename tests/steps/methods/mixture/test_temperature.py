import pytest

from steps.methods.mixture.fixed import Fixed
from steps.methods.mixture.temperature import Temperature
from tests.steps.methods.mixture.test_fixed import supply


def test_sizes_are_flattened_by_the_root() -> None:
    decided = Temperature(temperature=2).decide(supply(law=900, code=100), seed=0)
    assert decided.stages[0].new_weights == {"law": 30, "code": 10}


def test_at_one_it_is_the_proportional_mixture() -> None:
    sizes = supply(law=900, code=137)
    assert Temperature(temperature=1).decide(sizes, seed=0) == Fixed().decide(sizes, seed=0)


def test_a_high_temperature_nears_equal_shares() -> None:
    weights = Temperature(temperature=1e9).decide(supply(law=900, code=100), seed=0).stages[0].new_weights
    assert weights["law"] == pytest.approx(weights["code"], abs=1e-5)


def test_a_temperature_below_one_is_refused() -> None:
    with pytest.raises(ValueError, match="greater than or equal to 1"):
        Temperature(temperature=0.5)
