"""What infra/compose.yaml says, read without Docker."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
INFRA = ROOT / "infra"
VARIABLE = re.compile(r"\$\{(?P<name>\w+)(?::(?P<kind>[?-])(?P<rest>[^}]*))?\}")


def raw() -> dict[str, Any]:
    """The file as it stands."""
    content: dict[str, Any] = yaml.safe_load((INFRA / "compose.yaml").read_text(encoding="utf-8"))
    return content


def interpolate(value: Any, environment: Mapping[str, str]) -> Any:
    """A value with its variables filled in as Compose does it."""
    if isinstance(value, dict):
        return {key: interpolate(part, environment) for key, part in value.items()}
    if isinstance(value, list):
        return [interpolate(part, environment) for part in value]
    return VARIABLE.sub(lambda found: _filled(found, environment), value) if isinstance(value, str) else value


def _filled(found: re.Match[str], environment: Mapping[str, str]) -> str:
    given = environment.get(found["name"], "")
    if found["kind"] == "?" and not given:
        raise KeyError(f"{found['name']}: {found['rest']}")
    return given or (found["rest"] if found["kind"] == "-" else "")


def services(environment: Mapping[str, str]) -> dict[str, Any]:
    """The services by name, every variable filled in."""
    found: dict[str, Any] = interpolate(raw()["services"], environment)
    return found


def example() -> dict[str, str]:
    """The variables of infra/environment.example."""
    lines = (INFRA / "environment.example").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("=", 1) for line in lines if line and not line.startswith("#")]
    return {name.strip(): value.strip() for name, value in pairs}
