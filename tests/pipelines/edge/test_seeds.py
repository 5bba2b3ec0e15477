from pathlib import Path

import pytest

from pipelines.edge.home import Home
from pipelines.edge.seeds import Noised, Spread, run_noise


def test_a_spread_is_told_beside_its_margin() -> None:
    spread = Spread(name="docs", unit="nats", changes=(-0.142, -0.151, -0.138), spread=0.0066, margin=0.05)
    told = "docs: -0.151 to -0.138 nats, standard deviation 0.007; the margin of 0.050 is 7.6 times as wide"
    assert Noised(attempt="a", seeds=(20, 21, 22), spreads=(spread,), path="p").reasons == (told,)
    points = Spread(name="facts", unit="points", changes=(2.0, 2.0), spread=0.0, margin=5.0)
    assert points.say() == "facts: +2.0 to +2.0 points: no seed changes anything"


def test_where_nothing_was_trained_there_is_nothing_to_train_again(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no attempt was made here; `perennial refresh` makes one"):
        run_noise(Home(tmp_path), 3)
    with pytest.raises(ValueError, match="at least 1 other seed, found 0"):
        run_noise(Home(tmp_path), 0)
