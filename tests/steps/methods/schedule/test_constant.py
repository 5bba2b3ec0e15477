from steps.methods.schedule.constant import Constant


def test_every_step_has_the_peak_rate() -> None:
    assert [Constant().rate(step, 4, 3e-4) for step in (1, 2, 3, 4)] == [3e-4] * 4
