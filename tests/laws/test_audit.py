"""The audit judges licences by what they say, and never takes silence for health."""

from pathlib import Path

import pytest

from benchmarks.audit import ROOT, judge, vulnerabilities


@pytest.mark.parametrize(
    ("licence", "good"),
    [
        ("MIT License", True),
        ("BSD-3-Clause AND 0BSD AND MIT AND Zlib AND CC0-1.0", True),
        ("Apache-2.0 OR GPL-2.0-or-later", True),
        ("Apache Software License; BSD License", True),
        ("MIT AND GPL-3.0-only", False),
        ("GNU General Public License v3 (GPLv3)", False),
        ("GNU Affero General Public License v3", False),
        ("AGPL-3.0-only AND MIT", False),
        ("SSPL-1.0", False),
        ("Creative Commons Attribution Non-Commercial", False),
        ("UNKNOWN", False),
        ("", False),
    ],
)
def test_a_licence_is_judged_by_its_parts(licence: str, good: bool) -> None:
    assert judge("anything", licence)[0] is good


def test_what_was_read_by_hand_is_explained() -> None:
    assert judge("pygit2", "GPLv2 with linking exception") == (True, judge("pygit2", "")[1])
    assert "exception for linking" in judge("pygit2", "GPLv2 with linking exception")[1]


def pins(lock: Path) -> dict[str, str]:
    lines = (line.split("#")[0].strip() for line in lock.read_text(encoding="utf-8").splitlines())
    return dict(line.lower().replace("_", "-").split("==") for line in lines if line)


def test_the_tools_of_the_audit_change_no_version() -> None:
    ours, tools = pins(ROOT / "requirements.lock"), pins(ROOT / "requirements-audit.lock")
    assert {"pip-audit", "bandit", "pip-licenses"} <= set(tools)
    assert not set(ours) & set(tools)


def test_nobody_to_ask_is_not_the_same_as_nothing_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("pip_audit", reason="make audit installs it")
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    (tmp_path / "pins.lock").write_text("idna==3.20  # any\n", encoding="utf-8")
    found, why = vulnerabilities([tmp_path / "pins.lock"])
    assert found == []
    assert why.startswith("NOT CHECKED: ")
