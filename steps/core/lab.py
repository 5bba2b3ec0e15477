"""A model to ask about texts: how likely it finds them, where they lie in its space, and both after a brief run."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from steps.core.artifacts import Model
from steps.core.documents import Item
from steps.core.likelihood import Encoded, batches, encode, encode_items, first_context, summed_losses
from steps.core.models import load_model, load_tokenizer, token_losses
from steps.core.training import reproducible
from steps.core.workspace import Workspace

if TYPE_CHECKING:
    import torch

CHARACTERS_PER_TOKEN = 32  # no tokenizer of ours reads further than this to fill its tokens


class Lab:
    """A model to ask about texts; loaded at the first question, in float32.

    Only a text's first `max_tokens` tokens are read. Texts of like length are read together; what stands beside a text
    changes its answer by rounding alone, and the same question gives the same answer.
    """

    def __init__(self, workspace: Workspace, model: Model, max_tokens: int = 256, batch_texts: int = 8) -> None:
        assert max_tokens > 0, "a text is read by at least one token"
        assert batch_texts > 0, "at least one text is read at once"
        self._workspace, self._model = workspace, model
        self._max_tokens, self._batch_texts = max_tokens, batch_texts
        self._network: Any = None
        self._tokenizer: Any = None

    def losses(self, texts: Sequence[str]) -> np.ndarray:
        """Mean loss of each text, nats per token, float64 [N]; 0 for a text that has no token."""
        found_N = np.zeros(len(texts))
        self._load()
        context = first_context(self._tokenizer)
        for batch in self._batches(texts, "losses"):
            for text, nats in zip(batch, summed_losses(self._network, batch, context), strict=True):
                found_N[int(text.name)] = nats / text.num_losses
        return found_N

    def item_losses(self, items: Sequence[Item]) -> np.ndarray:
        """Mean loss of what counts of each hold-out item, nats per token, float64 [N]."""
        self._load()
        context, places = first_context(self._tokenizer), {item.id: place for place, item in enumerate(items)}
        found_N, done = np.zeros(len(items)), 0
        for batch in batches(encode_items(self._tokenizer, items, self._max_tokens), self._batch_texts):
            self._workspace.progress(done, len(items), "items")
            for text, nats in zip(batch, summed_losses(self._network, batch, context), strict=True):
                found_N[places[text.name]] = nats / text.num_losses
            done += len(batch)
        return found_N

    def embeddings(self, texts: Sequence[str]) -> np.ndarray:
        """Mean of the last hidden states of each text's tokens, of length 1, float32 [N, D]; 0 without a token."""
        import torch

        self._load()
        found_ND = np.zeros((len(texts), self._network.config.get_text_config().hidden_size), dtype=np.float32)
        context = first_context(self._tokenizer)
        for batch in self._batches(texts, "embeddings"):
            input_ids_BT, mask_BT = self._padded(batch, context)
            with torch.inference_mode():
                hidden_BTD = self._network.base_model(input_ids=input_ids_BT, use_cache=False).last_hidden_state
                known_BTD = torch.where(mask_BT.bool()[:, :, None], hidden_BTD.float().nan_to_num(), 0.0)
                mean_BD = known_BTD.sum(dim=1) / mask_BT.sum(dim=1, keepdim=True)
                unit_BD = torch.nn.functional.normalize(mean_BD, dim=1)
            found_ND[[int(text.name) for text in batch]] = unit_BD.cpu().numpy()
        return found_ND

    def tuned(self, texts: Sequence[str], num_steps: int, learning_rate: float, seed: int) -> "Lab":
        """The same model after a brief run on some texts; this one, and the folder that it came from, stay as they are.

        AdamW on all parameters without weight decay, warm-up or dropout; every step takes `batch_texts` texts, drawn
        in a new random order for each epoch, and the mean loss of their tokens.

        Raises:
            ValueError: no text has a token.
        """
        import copy

        import torch

        self._load()
        encoded = self._encoded(texts)
        if not encoded:
            raise ValueError(f"wanted texts to tune a model on, found none with a token among {len(texts):,}")
        other = Lab(self._workspace, self._model, self._max_tokens, self._batch_texts)
        other._tokenizer, other._network = self._tokenizer, copy.deepcopy(self._network)
        network, context = other._network, first_context(self._tokenizer)
        order = _drawn(len(encoded), min(self._batch_texts, len(encoded)), np.random.default_rng(seed))
        with reproducible(seed):
            optimizer = torch.optim.AdamW(network.parameters(), learning_rate, weight_decay=0.0)
            for step in range(num_steps):
                self._workspace.progress(step, num_steps, "steps")
                input_ids_BT, mask_BT = self._padded([encoded[row] for row in next(order)], context)
                (token_losses(network, input_ids_BT, mask_BT).sum() / mask_BT.sum()).backward()
                optimizer.step()
                optimizer.zero_grad()
        return other

    def _load(self) -> None:
        if self._network is None:
            folder = self._workspace.at(self._model.path)
            self._tokenizer = load_tokenizer(folder)
            self._network = load_model(folder, device=self._workspace.device)

    def _encoded(self, texts: Sequence[str]) -> list[Encoded]:
        """The texts that have a token; their names are their places, with zeros, so that names sort as places."""
        starts = [text[: self._max_tokens * CHARACTERS_PER_TOKEN] for text in texts]
        named = [(f"{place:012d}", text) for place, text in enumerate(starts) if self._has_token(text)]
        return encode(self._tokenizer, named, self._max_tokens)

    def _has_token(self, text: str) -> bool:
        if len(text) > 64 and not text.isspace():
            return True
        return bool(self._tokenizer(text, add_special_tokens=False, split_special_tokens=True)["input_ids"])

    def _batches(self, texts: Sequence[str], what: str) -> Iterator[list[Encoded]]:
        encoded, done = self._encoded(texts), 0
        for batch in batches(encoded, self._batch_texts):
            self._workspace.progress(done, len(encoded), what)
            yield batch
            done += len(batch)

    def _padded(self, batch: Sequence[Encoded], context: int) -> tuple["torch.Tensor", "torch.Tensor"]:
        """Tokens behind the context token, and which of them are the texts'; [B, T] each."""
        import torch

        width = 1 + max(len(text.tokens) for text in batch)
        rows = [[context, *text.tokens] for text in batch]
        input_ids_BT = torch.tensor([row + [context] * (width - len(row)) for row in rows])
        mask_BT = torch.tensor([[0] + [1] * (len(row) - 1) + [0] * (width - len(row)) for row in rows])
        device = self._network.device
        return input_ids_BT.to(device), mask_BT.to(device)


def _drawn(number: int, size: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Rows of each step: every row once before any comes again."""
    waiting = rng.permutation(number)
    while True:
        if len(waiting) < size:
            waiting = np.concatenate([waiting, rng.permutation(number)])
        yield waiting[:size]
        waiting = waiting[size:]
