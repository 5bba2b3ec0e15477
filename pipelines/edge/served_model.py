"""The registered model as MLflow serves it: prompts in, greedy continuations out.

MLflow copies this file beside the weights and runs it alone, so it imports nothing of perennial.
"""

from typing import Any

import mlflow
import pandas as pd

MAX_NEW_TOKENS = 32


class ServedModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """Continues each prompt; `params={"max_new_tokens": 32}` says by how much."""

    def load_context(self, context: Any) -> None:
        """Load the weights and the tokenizer of the folder `model`."""
        import torch
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder = context.artifacts["model"]
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)  # nosec B615
        self.network = AutoModelForCausalLM.from_pretrained(  # nosec B615 - a local folder
            folder, dtype=torch.float32, local_files_only=True, use_safetensors=True
        ).eval()
        if torch.cuda.is_available():
            self.network.to("cuda")

    def predict(self, context: Any, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[str]:
        """Continue each prompt greedily.

        Raises:
            ValueError: the input is neither a column nor a list of texts.
        """
        num_tokens = int((params or {}).get("max_new_tokens", MAX_NEW_TOKENS))
        return [self._continue(prompt, num_tokens) for prompt in _prompts(model_input)]

    def _continue(self, prompt: str, num_tokens: int) -> str:
        import torch
        from transformers import GenerationConfig

        stop = self.tokenizer.eos_token_id
        start = self.tokenizer.bos_token_id if self.tokenizer.bos_token_id is not None else stop
        ids = self.tokenizer(prompt, add_special_tokens=False, verbose=False)["input_ids"] or [start]
        input_ids = torch.tensor([ids], device=self.network.device)
        pad = self.tokenizer.pad_token_id
        greedy = GenerationConfig(
            do_sample=False,
            max_new_tokens=num_tokens,
            eos_token_id=stop,
            pad_token_id=stop if pad is None else pad,
        )
        with torch.inference_mode():
            output = self.network.generate(
                input_ids=input_ids, attention_mask=torch.ones_like(input_ids), generation_config=greedy
            )
        return str(self.tokenizer.decode(output[0, len(ids) :], skip_special_tokens=True))


def _prompts(model_input: Any) -> list[str]:
    if isinstance(model_input, str):
        return [model_input]
    if isinstance(model_input, pd.DataFrame):
        named = "prompt" in model_input.columns
        model_input = model_input["prompt"] if named else model_input.iloc[:, 0]
    prompts = list(model_input)
    for prompt in prompts:
        if not isinstance(prompt, str):
            raise ValueError(f"prompts: wanted texts, found {type(prompt).__name__}; send a column or list of texts")
    return prompts


mlflow.models.set_model(ServedModel())
