"""A model that is asked: its answers to prompts, and how likely it finds an answer.

Answers are greedy and in float32 where the recipe does not say otherwise. What stands beside a prompt in its batch
changes an answer by rounding alone.
"""

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import TemplateError

from steps.core.likelihood import MAX_NATS, first_context
from steps.core.models import chat_template, load_model, load_tokenizer, quiet, token_losses
from steps.core.rows import NO_DAY, TODAY

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

BATCH_PROMPTS = 16  # fixed: with the batch a near-tie between two tokens could fall the other way


class Examinee:
    """A checkpoint folder to ask; loaded at the first question."""

    def __init__(self, folder: Path, precision: str = "float32", device: str = "cpu") -> None:
        self.folder, self.precision, self.device = folder, precision, device

    @cached_property
    def is_chat(self) -> bool:
        """Whether it has a chat template."""
        return bool(chat_template(self.folder))

    @cached_property
    def network(self) -> "PreTrainedModel":
        """The model, in eval mode."""
        return load_model(self.folder, self.precision, self.device)

    @cached_property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """Its tokenizer."""
        return load_tokenizer(self.folder)

    def prompt(self, text: str, *, chat: bool, system: str = "") -> list[int]:
        """A question as tokens: as a user's turn with the assistant's heading, or as plain text.

        A template that writes the day of the run gets a fixed one, and one that can think aloud is told not to.

        Raises:
            ValueError: the chat template refuses the turns.
        """
        if not chat:
            plain = f"{system}\n\n{text}" if system else text
            ids = self.tokenizer(plain, split_special_tokens=True, verbose=False)["input_ids"]
            return list(ids) or [first_context(self.tokenizer)]
        turns = [{"role": "system", "content": system}] * bool(system) + [{"role": "user", "content": text}]
        written = self._rendered(turns)
        return list(self.tokenizer(written, add_special_tokens=False, verbose=False)["input_ids"])

    def _rendered(self, turns: Sequence[Mapping[str, str]]) -> str:
        template = TODAY.sub(lambda call: repr(NO_DAY.strftime(call[2])), self.tokenizer.get_chat_template())
        try:
            return str(
                self.tokenizer.apply_chat_template(
                    [dict(turn) for turn in turns],
                    chat_template=template,
                    tokenize=False,
                    add_generation_prompt=True,
                    enable_thinking=False,
                )
            )
        except TemplateError as error:
            raise ValueError(
                f"{self.folder}: its chat template refuses the turns of a question: {error}; ask it without a system "
                "text, or as plain text"
            ) from error

    def answers(self, prompts: Sequence[Sequence[int]], num_tokens: int) -> list[str]:
        """The greedy answer to each prompt, without special tokens, at most `num_tokens` long.

        Raises:
            ValueError: a prompt and its answer do not fit into the model's context.
        """
        import torch
        from transformers import GenerationConfig

        self._must_fit(max(map(len, prompts)) + num_tokens)
        stops = self._stops()
        pad = self.tokenizer.pad_token_id if self.tokenizer.pad_token_id is not None else stops[0]
        width = max(map(len, prompts))
        rows = [[pad] * (width - len(prompt)) + list(prompt) for prompt in prompts]
        mask = [[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts]
        greedy = GenerationConfig(
            do_sample=False,
            num_beams=1,
            repetition_penalty=1.0,
            max_new_tokens=num_tokens,
            eos_token_id=stops,
            pad_token_id=pad,
        )
        with torch.inference_mode(), quiet():
            output_BT = self.network.generate(
                input_ids=torch.tensor(rows, device=self.network.device),
                attention_mask=torch.tensor(mask, device=self.network.device),
                generation_config=greedy,
            )
        written = [_until(row, stops) for row in output_BT[:, width:].tolist()]
        return [str(self.tokenizer.decode(ids, skip_special_tokens=True)).strip() for ids in written]

    def losses(self, pairs: Sequence[tuple[Sequence[int], str]]) -> list[float]:
        """How unlikely each prompt makes its answer, in nats, summed over the answer's tokens.

        Raises:
            ValueError: an answer has no token, or does not fit with its prompt into the model's context.
        """
        import torch

        answers = [self._tokens(answer) for _, answer in pairs]
        rows = [[*prompt, *answer] for (prompt, _), answer in zip(pairs, answers, strict=True)]
        width = max(map(len, rows))
        self._must_fit(width)
        pad = first_context(self.tokenizer)  # on the right, where a causal model does not look
        input_ids_BT = torch.tensor([row + [pad] * (width - len(row)) for row in rows], device=self.network.device)
        mask_BT = torch.tensor(
            [
                [0] * len(prompt) + [1] * len(answer) + [0] * (width - len(prompt) - len(answer))
                for (prompt, _), answer in zip(pairs, answers, strict=True)
            ]
        )
        with torch.inference_mode():
            loss_BP = token_losses(self.network, input_ids_BT, mask_BT.to(self.network.device))
        capped_BP = loss_BP.double().nan_to_num(nan=MAX_NATS, posinf=MAX_NATS).clamp(0.0, MAX_NATS)
        return [float(value) for value in capped_BP.sum(dim=1).cpu()]

    def _tokens(self, answer: str) -> list[int]:
        ids = self.tokenizer(answer, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
        if not ids:
            raise ValueError(f"wanted an answer of at least one token, found {answer!r}; correct the question's file")
        return list(ids)

    def _stops(self) -> list[int]:
        """What ends an answer: what the model's own generation says, and the tokenizer's end of text."""
        own: Any = self.network.generation_config.eos_token_id if self.network.generation_config else None
        listed = own if isinstance(own, list) else [own]
        found = [int(token) for token in [*listed, self.tokenizer.eos_token_id] if token is not None]
        return sorted(set(found)) or [first_context(self.tokenizer)]

    def _must_fit(self, num_tokens: int) -> None:
        room = getattr(self.network.config.get_text_config(), "max_position_embeddings", None)
        if room is not None and num_tokens > room:
            raise ValueError(
                f"{self.folder}: a question and its answer take {num_tokens:,} tokens, the model reads {room:,}; "
                "shorten the question"
            )


def _until(ids: Sequence[int], stops: Sequence[int]) -> list[int]:
    """The tokens before the first that ends an answer."""
    place = next((place for place, token in enumerate(ids) if token in stops), len(ids))
    return list(ids[:place])
