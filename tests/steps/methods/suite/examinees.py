"""Models to ask, without waiting for one."""

import json
from collections.abc import Sequence
from pathlib import Path

from steps.core.examinee import Examinee
from tests.chat import CHATML
from tests.tiny_models import tiny_model


class Parrot(Examinee):
    """Says what it was given for a prompt, and finds likely what it was told to; no network behind it."""

    def __init__(self, says: dict[str, str], nats: dict[str, float] | None = None, *, chat: bool = True) -> None:
        super().__init__(Path("nowhere"))
        self.says, self.nats = says, nats or {}
        self.is_chat = chat
        self.asked: list[str] = []

    def prompt(self, text: str, *, chat: bool, system: str = "") -> list[int]:
        """The characters of the text."""
        return [ord(letter) for letter in text]

    def answers(self, prompts: Sequence[Sequence[int]], num_tokens: int) -> list[str]:
        """By heart."""
        texts = ["".join(map(chr, prompt)) for prompt in prompts]
        self.asked += texts
        return [self.says.get(text, "") for text in texts]

    def losses(self, pairs: Sequence[tuple[Sequence[int], str]]) -> list[float]:
        """As told."""
        return [self.nats[answer.strip()] for _, answer in pairs]


def chat_model(folder: Path, seed: int = 0) -> Path:
    """A random tiny model with a chat template."""
    tiny_model(folder, seed)
    (folder / "chat_template.jinja").write_text(CHATML, encoding="utf-8")
    return folder


def write_rows(path: Path, rows: Sequence[dict[str, object]]) -> str:
    """A file of questions; its name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path.name
