"""Passwords in servers' addresses: taken out before a library can put a whole address into one of its messages."""

import os
from urllib.parse import unquote, urlsplit, urlunsplit

WEB = {"http", "https"}


def hide_passwords() -> None:
    """Move the passwords of `MLFLOW_TRACKING_URI` and `PREFECT_API_URL` to the variables that are read for them."""
    user, password = _take("MLFLOW_TRACKING_URI")
    if password:
        os.environ.setdefault("MLFLOW_TRACKING_USERNAME", user)
        os.environ.setdefault("MLFLOW_TRACKING_PASSWORD", password)
    user, password = _take("PREFECT_API_URL")
    if password:
        os.environ.setdefault("PREFECT_API_AUTH_STRING", f"{user}:{password}")


def without_password(address: str) -> str:
    """An address without the name and password that it may carry."""
    parts = urlsplit(address)
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def _take(variable: str) -> tuple[str, str]:
    address = os.environ.get(variable, "")
    parts = urlsplit(address)
    if parts.scheme not in WEB or not parts.password:
        return "", ""
    os.environ[variable] = without_password(address)
    return unquote(parts.username or ""), unquote(parts.password)
