"""perennial.yaml is read with clear words for what does not fit."""

from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import ValidationError

from pipelines.edge.settings import Settings
from pipelines.recipe import load_yaml

REPOSITORY = Path(__file__).resolve().parents[3]


def test_the_file_of_the_repository_fits() -> None:
    assert load_yaml(REPOSITORY / "perennial.yaml", Settings).name == "perennial"


def test_durations_are_written_as_people_write_them() -> None:
    settings = Settings.model_validate(
        {"schedules": {"often": {"every": "6h"}}, "triggers": {"*": {"quiet": "90s", "oldest": "P2D"}}}
    )
    assert settings.schedules["often"].every == timedelta(hours=6)
    trigger = settings.trigger("any-task")
    assert trigger
    assert (trigger.quiet, trigger.oldest) == (timedelta(seconds=90), timedelta(days=2))


def test_a_task_of_its_own_comes_before_any_task() -> None:
    settings = Settings.model_validate({"triggers": {"*": {"documents": 5}, "docs": {"documents": 100}}})
    assert [settings.trigger(task).documents for task in ("docs", "other")] == [100, 5]  # type: ignore[union-attr]
    assert Settings().trigger("docs") is None


@pytest.mark.parametrize("address", [None, "auto", "10.0.0.1:6379", "ray://head.example:10001", "[::1]:6379"])
def test_a_ray_cluster_has_an_address_or_is_started_here(address: str | None) -> None:
    assert Settings.model_validate({"runtime": {"engine": "ray", "address": address}}).runtime.address == address


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"schedules": {"nightly": {"cron": "0 2 * *"}}}, "wanted five fields"),
        ({"schedules": {"nightly": {"cron": "0 2 * * *", "timezone": "Mars/Base"}}}, "no time zone 'Mars/Base'"),
        ({"schedules": {"nightly": {"cron": "0 2 * * *", "every": "6h"}}}, "one of cron, every and rrule"),
        ({"schedules": {"nightly": {"rrule": "FREQ=SOMETIMES"}}}, "no RRULE"),
        ({"schedules": {"often": {"every": "5s"}}}, "less than a minute"),
        ({"schedules": {"Not A Name": {"every": "5m"}}}, "lower-case letters"),
        ({"triggers": {"*": {"quiet": "soon"}}}, "no duration: 'soon'"),
        ({"triggers": {"*": {"quiet": -5}}}, "greater than or equal to"),
        ({"notifications": [{"on": ["held"]}]}, "one of block and variable"),
        ({"servers": {"mlflow": "sqlite:///x.db"}}, "wanted an address"),
        ({"servers": {"prefect": "http://user:secret@host/api"}}, "a password belongs in the environment"),
        ({"runtime": {"address": "auto"}}, "is for engine: ray"),
        ({"runtime": {"engine": "ray", "address": "http://head"}}, "wanted auto, HOST:PORT or ray://HOST:PORT"),
        ({"runtime": {"engine": "ray", "address": "user:secret@head:6379"}}, "wanted auto, HOST:PORT"),
        ({"runtime": {"engine": "dask"}}, "'local' or 'ray'"),
        ({"training": {"processes": -1}}, "greater than or equal to 0"),
        ({"inboxes": []}, "Extra inputs"),
    ],
)
def test_what_does_not_fit_is_named(content: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message.replace("(", r"\(").replace("*", r"\*")):
        Settings.model_validate(content)
