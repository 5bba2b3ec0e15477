import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow.models import infer_signature

from pipelines.edge import served_model
from steps.core.likelihood import continuation
from steps.core.models import load_model, load_tokenizer
from tests.tiny_models import tiny_model

FRAME = pd.DataFrame({"prompt": ["The dog", "A fox"]})


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("models") / "tiny", seed=5)


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, weights: Path) -> Path:
    path = tmp_path_factory.mktemp("saved") / "model"
    mlflow.pyfunc.save_model(
        path=str(path),
        python_model=served_model.__file__,
        artifacts={"model": str(weights)},
        signature=infer_signature(FRAME, ["and"], params={"max_new_tokens": 32}),
        input_example=FRAME,
        pip_requirements=["torch", "transformers", "pandas", "mlflow"],
    )
    return path


@pytest.fixture(scope="module")
def served(saved: Path) -> Any:
    return mlflow.pyfunc.load_model(str(saved))


def greedy(weights: Path, prompt: str, num_tokens: int) -> str:
    return continuation(load_model(weights), load_tokenizer(weights), prompt, num_tokens)


def test_the_loaded_model_continues_a_column_of_prompts_greedily(served: Any, weights: Path) -> None:
    wanted = [greedy(weights, prompt, 6) for prompt in FRAME["prompt"]]
    assert served.predict(FRAME, params={"max_new_tokens": 6}) == wanted


def test_without_a_length_it_writes_thirty_two_tokens(served: Any, weights: Path) -> None:
    assert served.predict(FRAME[:1]) == [greedy(weights, "The dog", 32)]


def test_prompts_may_come_as_json(served: Any, weights: Path) -> None:
    assert served.predict([{"prompt": "The dog"}], params={"max_new_tokens": 3}) == [greedy(weights, "The dog", 3)]


def test_it_runs_where_perennial_is_not_installed(saved: Path, tmp_path: Path) -> None:
    program = (
        "import sys, mlflow\n"
        "sys.meta_path.insert(0, type('Refuse', (), {'find_spec': staticmethod(lambda name, *rest: "
        "(_ for _ in ()).throw(ImportError(name)) if name.split('.')[0] in ('pipelines', 'steps') else None)})())\n"
        f"model = mlflow.pyfunc.load_model({str(saved)!r})\n"
        "import pandas as pd\n"
        "answers = model.predict(pd.DataFrame({'prompt': ['The dog']}), params={'max_new_tokens': 2})\n"
        "sys.exit(0 if len(answers) == 1 and isinstance(answers[0], str) else 1)\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=dict(os.environ), capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr[-2000:]


@pytest.mark.parametrize(
    "given", [FRAME, pd.DataFrame({"text": list(FRAME["prompt"])}), list(FRAME["prompt"]), FRAME["prompt"]]
)
def test_prompts_are_a_column_or_a_list(given: Any) -> None:
    assert served_model._prompts(given) == ["The dog", "A fox"]


def test_the_column_named_prompt_is_taken_wherever_it_stands() -> None:
    frame = pd.DataFrame({"id": ["1"], "prompt": ["The dog"]})
    assert served_model._prompts(frame) == ["The dog"]


def test_a_single_text_is_one_prompt() -> None:
    assert served_model._prompts("The dog") == ["The dog"]


def test_prompts_that_are_no_texts_are_refused() -> None:
    with pytest.raises(ValueError, match="wanted texts, found int; send a column or list of texts"):
        served_model._prompts([1])
