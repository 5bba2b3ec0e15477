import os

import pytest

from pipelines.edge.passwords import hide_passwords, without_password

SECRETS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "PREFECT_API_AUTH_STRING")
PLACES = ("MLFLOW_TRACKING_URI", "PREFECT_API_URL")


@pytest.fixture(autouse=True)
def _nothing_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*SECRETS, *PLACES):
        monkeypatch.setenv(name, "")  # so that it is restored
        monkeypatch.delenv(name)


def test_passwords_leave_the_addresses_and_stay_at_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://ana:h%40sh@lamp:5000/a")
    monkeypatch.setenv("PREFECT_API_URL", "http://ana:hush@lamp:4200/api")
    hide_passwords()
    assert [os.environ[name] for name in PLACES] == ["https://lamp:5000/a", "http://lamp:4200/api"]
    assert [os.environ[name] for name in SECRETS] == ["ana", "h@sh", "ana:hush"]
    hide_passwords()
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "h@sh", "again changes nothing"


def test_a_password_that_is_set_by_itself_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://ana:hush@lamp:5000")
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "other")
    hide_passwords()
    assert os.environ["MLFLOW_TRACKING_PASSWORD"] == "other"


@pytest.mark.parametrize("address", ["http://lamp:5000", "sqlite:////data/mlflow.db", "postgresql://ana:hush@lamp/m"])
def test_other_addresses_stay_as_they_are(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    hide_passwords()
    assert os.environ["MLFLOW_TRACKING_URI"] == address
    assert not set(SECRETS) & set(os.environ)


def test_an_address_is_shown_without_its_password() -> None:
    assert without_password("https://a:b@c/d?e=f") == "https://c/d?e=f"
    assert without_password("http://c:1") == "http://c:1"
