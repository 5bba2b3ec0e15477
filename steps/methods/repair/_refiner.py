"""A refiner: a small language model that writes a program for a document (ProX)."""

from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from steps.core.models import load_model, load_tokenizer, quiet, storage_dtype

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

Stage = Literal["document", "chunk"]
SYSTEM = "You are a helpful, respectful and honest assistant."
LLAMA_2 = (  # where a tokenizer has no chat template; the source takes Llama 2's for its document stage
    "{{ bos_token or '' }}[INST] <<SYS>>\n{{ messages[0]['content'] }}\n<</SYS>>\n\n"
    "{{ messages[1]['content'] }} [/INST]"
)
CHARACTERS_PER_TOKEN = 32  # so much of a line is tokenised at most


class Refiner:
    """A model and its tokenizer, and the prompts of both stages; decoding is greedy, one prompt at a time."""

    def __init__(self, folder: Path, device: str) -> None:
        dtype = "float32" if device == "cpu" else storage_dtype(folder)
        self._network, self._tokenizer = load_model(folder, dtype, device), load_tokenizer(folder)
        special = {str(token) for token in self._tokenizer.all_special_tokens}
        self._special = sorted((token for token in special if len(token) > 1), key=lambda token: (-len(token), token))

    def program(self, stage: Stage, text: str, prompt_tokens: int, new_tokens: int) -> str:
        """The program that the model writes for a text; those of a text's chunks one after the other."""
        if stage == "document":
            return self._written(self._fitting(text, prompt_tokens), new_tokens)
        chunks = chunks_of(self._tokenizer, text, prompt_tokens)
        return "\n".join(self._written(self._ids(f"[doc]\n{chunk}\n[/doc]"), new_tokens) for chunk in chunks)

    def _ids(self, content: str) -> list[int]:
        """The prompt around a content, as tokens. A special token that the content spells is broken up by a space."""
        for token in self._special:
            content = content.replace(token, f"{token[0]} {token[1:]}")
        prompt = self._tokenizer.apply_chat_template(
            [{"role": "system", "content": SYSTEM}, {"role": "user", "content": content}],
            chat_template=None if self._tokenizer.chat_template else LLAMA_2,
            add_generation_prompt=True,
            tokenize=False,
        )
        ids: list[int] = self._tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"]
        return ids

    def _fitting(self, text: str, most: int) -> list[int]:
        """The longest prompt of at most so many tokens: its text is cut, its end stays."""
        room = most - len(self._ids(""))
        while True:
            text = first_tokens(self._tokenizer, text, room)
            ids = self._ids(text)
            if len(ids) <= most or not text:
                return ids
            room -= max(1, len(ids) - most)

    def _written(self, ids: list[int], new_tokens: int) -> str:
        import torch
        from transformers import GenerationConfig

        stop: Any = self._network.generation_config.eos_token_id or self._tokenizer.eos_token_id
        pad = self._tokenizer.pad_token_id
        first_stop = stop[0] if isinstance(stop, list) else stop
        greedy = GenerationConfig(
            do_sample=False,
            max_new_tokens=new_tokens,
            eos_token_id=stop,
            pad_token_id=pad if pad is not None else first_stop,
        )
        input_ids = torch.tensor([ids], device=self._network.device)
        with torch.inference_mode(), quiet():
            output = self._network.generate(
                input_ids=input_ids, attention_mask=torch.ones_like(input_ids), generation_config=greedy
            )
        return str(self._tokenizer.decode(output[0, len(ids) :], skip_special_tokens=True)).strip(" ")


@lru_cache(maxsize=1)
def load_refiner(folder: Path, stamp: int, device: str) -> Refiner:
    """The refiner of a folder, which stays loaded in this process while the folder is the same."""
    return Refiner(folder, device)


def chunks_of(tokenizer: "PreTrainedTokenizerBase", text: str, most: int) -> Iterator[str]:
    """The numbered lines of a text, packed in order into chunks of at most so many tokens.

    A line is `[000]` and its text, three digits or more, from 0 on over the whole text; its line break counts as a
    token. One that is longer is a chunk of its own, and shows its beginning.
    """
    packed: list[str] = []
    size = 0
    for number, line in enumerate(text.split("\n")):
        shown = f"[{number:03d}]{line}"
        num_tokens = 1 + len(_tokens(tokenizer, shown[: most * CHARACTERS_PER_TOKEN]))
        if packed and size + num_tokens > most:
            yield "\n".join(packed)
            packed, size = [], 0
        if num_tokens > most:
            yield first_tokens(tokenizer, shown, most)
        else:
            packed.append(shown)
            size += num_tokens
    if packed:
        yield "\n".join(packed)


def first_tokens(tokenizer: "PreTrainedTokenizerBase", text: str, most: int) -> str:
    """The beginning of a text, so many tokens long at most."""
    text = text[: max(0, most) * CHARACTERS_PER_TOKEN]
    if tokenizer.is_fast:
        encoding = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True, verbose=False)
        offsets = encoding["offset_mapping"]
        return text if len(offsets) <= most else text[: offsets[most - 1][1]] if most > 0 else ""
    ids = _tokens(tokenizer, text)
    return text if len(ids) <= most else str(tokenizer.decode(ids[: max(0, most)]))


def _tokens(tokenizer: "PreTrainedTokenizerBase", text: str) -> list[int]:
    ids: list[int] = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return ids
