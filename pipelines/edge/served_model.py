"""A registered version as MLflow serves it: prompts in, greedy continuations out. Needs transformers, not perennial."""

from typing import Any

import mlflow
import pandas as pd


class CausalLanguageModel(mlflow.pyfunc.PythonModel):  # type: ignore[misc]
    """The model behind `mlflow.pyfunc.load_model("models:/<name>@champion")`."""

    def load_context(self, context: Any) -> None:
        """Load weights and tokenizer from the version's own folder; no code in it is run."""
        from transformers import AutoModelForCausalLM, AutoTokenizer

        folder = context.artifacts["model"]
        self.tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        self.network = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, use_safetensors=True, trust_remote_code=False
        ).eval()

    def predict(self, context: Any, model_input: Any, params: dict[str, Any] | None = None) -> list[str]:
        """The continuation of each prompt.

        Args:
            context: MLflow's, already read.
            model_input: a data frame with a column `prompt`, or a list of prompts.
            params: `max_new_tokens`, 32 where it is not given.
        """
        import torch

        prompts = list(model_input["prompt"]) if isinstance(model_input, pd.DataFrame) else list(model_input)
        length = int((params or {}).get("max_new_tokens", 32))
        stop = self.tokenizer.eos_token_id
        told = []
        for prompt in prompts:
            given = self.tokenizer(str(prompt), return_tensors="pt", add_special_tokens=False, return_token_type_ids=False)
            with torch.inference_mode():
                made = self.network.generate(**given, do_sample=False, max_new_tokens=length, pad_token_id=stop)
            told.append(self.tokenizer.decode(made[0, given["input_ids"].shape[1] :], skip_special_tokens=True))
        return told


mlflow.models.set_model(CausalLanguageModel())
