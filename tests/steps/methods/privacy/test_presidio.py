import logging
import socket
import sys
from typing import Any

import pytest

from steps.methods.privacy import Found
from steps.methods.privacy.presidio import PIECE, Presidio, _analyzer


@pytest.fixture(name="method")
def _method(monkeypatch: pytest.MonkeyPatch) -> Presidio:
    """The method, with a network that nobody may ask."""
    pytest.importorskip("presidio_analyzer", reason="pip install 'perennial[presidio]'")

    def refuse(*_: Any) -> None:
        raise AssertionError("it asked the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    return Presidio()


def test_without_presidio_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "presidio_analyzer", None)
    _analyzer.cache_clear()
    with pytest.raises(ValueError, match=r"presidio is not installed; pip install 'perennial\[presidio\]'"):
        Presidio().find(["jane@example.org"])


def test_its_kinds_have_our_names(method: Presidio) -> None:
    text = "jane@example.org, 81.2.69.142, 4111 1111 1111 1111, GB82WEST12345698765432, my SSN is 536-90-4399"
    assert [match.kind for match in method.find([text])[0]] == ["email", "ip", "card", "iban", "us-ssn"]
    assert method.find(["write to jane@example.org"]) == [[Found("email", 9, 25)]]


def test_a_model_that_is_not_installed_is_not_downloaded(method: Presidio) -> None:
    with pytest.raises(ValueError, match="model en_core_web_lg is not installed"):
        method.model_copy(update={"model": "en_core_web_lg"}).find(["Jane"])


def test_what_was_found_is_never_shown(method: Presidio, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    found = method.find(["write to jane@example.org"])
    assert "jane" not in repr(found) + caplog.text


def test_long_texts_are_read_in_pieces_that_end_between_words() -> None:
    text = "word " * 50_000 + "x" * 250_000
    pieces = [match[0] for match in PIECE.finditer(text)]
    assert "".join(pieces) == text
    assert max(map(len, pieces)) <= 100_001
    assert all(piece.endswith(" ") for piece in pieces[:2])
