import json
import logging
import pickle
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from steps.core.models import (
    describe_model,
    digest_of_model,
    load_model,
    load_tokenizer,
    read_header,
    save_model,
    storage_dtype,
    token_losses,
)
from tests.tiny_models import tiny_model, tiny_workspace


class Bomb:
    """Breaks the test if it is ever unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (pytest.fail, ("a pickle was opened",))


def edit_config(folder: Path, **fields: object) -> None:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | fields))


def test_the_artifact_of_a_folder_names_it_relative_to_the_workspace(tmp_path: Path) -> None:
    model = describe_model(tiny_workspace(tmp_path), tiny_model(tmp_path / "models/tiny"))
    assert (model.path, model.num_parameters, model.adapter) == ("models/tiny", 98_880, None)


def test_who_wrote_a_model_and_where_does_not_count(tmp_path: Path) -> None:
    first, second = tiny_model(tmp_path / "a"), tiny_model(tmp_path / "b")
    edit_config(second, transformers_version="9.9", _name_or_path="elsewhere")
    assert digest_of_model(first) == digest_of_model(second)


def test_how_the_tensors_are_spread_over_files_does_not_count(tmp_path: Path) -> None:
    whole, spread = tiny_model(tmp_path / "a"), tiny_model(tmp_path / "b")
    (spread / "model.safetensors").unlink()
    load_model(whole).save_pretrained(spread, max_shard_size="100KB")
    assert len(list(spread.glob("*.safetensors"))) > 1
    assert digest_of_model(whole) == digest_of_model(spread)


@pytest.mark.parametrize("part", ["weight", "name", "tokenizer", "config", "template"])
def test_every_part_that_changes_the_model_changes_the_digest(tmp_path: Path, part: str) -> None:
    folder = tiny_model(tmp_path / "a")
    before = digest_of_model(folder)
    tensors = load_file(folder / "model.safetensors")
    if part == "weight":
        tensors["model.norm.weight"][0] += 1
    if part == "name":
        tensors["model.other.weight"] = tensors.pop("model.norm.weight")
    if part == "tokenizer":
        (folder / "tokenizer.json").write_text((folder / "tokenizer.json").read_text() + " ")
    if part == "config":
        edit_config(folder, rms_norm_eps=1e-3)
    if part == "template":
        (folder / "chat_template.jinja").write_text("{{ messages }}")
    save_file(tensors, folder / "model.safetensors")
    assert digest_of_model(folder) != before


def test_a_chat_template_counts_the_same_wherever_it_stands(tmp_path: Path) -> None:
    beside, inside = tiny_model(tmp_path / "a"), tiny_model(tmp_path / "b")
    (beside / "chat_template.jinja").write_text("{{ messages }}")
    path = inside / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "chat_template": "{{ messages }}"}))
    assert digest_of_model(beside) == digest_of_model(inside)


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "a")
    (folder / "model.safetensors").unlink()
    with pytest.raises(ValueError, match=r"wanted model\.safetensors, found .*config\.json"):
        describe_model(tiny_workspace(tmp_path), folder)


def test_a_folder_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"wanted model\.safetensors, found no folder"):
        load_model(tmp_path / "nowhere")


def test_weights_that_are_only_a_pickle_are_refused_unopened(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "a")
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match=r"only as pickle \(pytorch_model\.bin\), which can run code"):
        load_model(folder)


def test_a_pickle_planted_beside_the_weights_is_named_and_never_opened(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    clean, planted = tiny_model(tmp_path / "a"), tiny_model(tmp_path / "b")
    for name in ("pytorch_model.bin", "tokenizer.pkl", "model.pt"):
        (planted / name).write_bytes(pickle.dumps(Bomb()))
    with caplog.at_level(logging.WARNING):
        network = load_model(planted)
    load_tokenizer(planted)
    assert "ignored model.pt, pytorch_model.bin, tokenizer.pkl" in caplog.text
    assert torch.equal(network.lm_head.weight, load_model(clean).lm_head.weight)


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json"])
def test_a_folder_without_a_part_names_the_part(tmp_path: Path, name: str) -> None:
    folder = tiny_model(tmp_path / "a")
    (folder / name).unlink()
    with pytest.raises(ValueError, match=f"wanted {name} beside the weights, found none"):
        load_model(folder)


def test_weights_that_were_cut_short_are_refused(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "a")
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"wanted 397,584 bytes, found 397,484; copy it again"):
        describe_model(tiny_workspace(tmp_path), folder)


def test_junk_is_not_a_safetensors_file(tmp_path: Path) -> None:
    (tmp_path / "junk").write_bytes(b"\xff" * 64)
    with pytest.raises(ValueError, match="not a safetensors file"):
        read_header(tmp_path / "junk")


def test_a_model_that_brings_its_own_code_is_not_run(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "a")
    (folder / "modeling_own.py").write_text("raise SystemExit('code of the folder was run')")
    edit_config(folder, model_type="own", auto_map={"AutoModelForCausalLM": "modeling_own.Own"})
    with pytest.raises(ValueError, match="models that need code of their own are not run"):
        load_model(folder)


def test_a_model_is_computed_in_the_dtype_asked_for_and_remembers_how_it_is_stored(tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "a")
    load_model(folder).to(torch.bfloat16).save_pretrained(folder)
    assert storage_dtype(folder) == "bfloat16"
    assert load_model(folder).lm_head.weight.dtype == torch.float32


def test_a_saved_model_is_its_parent_with_other_weights(tmp_path: Path) -> None:
    parent = tiny_model(tmp_path / "a")
    save_model(load_model(parent), tmp_path / "copy", parent)
    assert digest_of_model(tmp_path / "copy") == digest_of_model(parent)
    assert (tmp_path / "copy/config.json").read_bytes() == (parent / "config.json").read_bytes()
    assert {path.stat().st_mode & 0o777 for path in (tmp_path / "copy").iterdir()} == {0o644}


def test_a_model_that_cannot_be_written_leaves_the_old_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parent = tiny_model(tmp_path / "a")
    kept = tiny_model(tmp_path / "out")

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left on device; free disk space and run again"):
        save_model(load_model(parent), kept, parent)
    assert digest_of_model(kept) == digest_of_model(parent)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "out"]


def test_the_loss_of_a_token_is_what_the_model_gives_it(tmp_path: Path) -> None:
    network = load_model(tiny_model(tmp_path / "a"))
    input_ids_BT = torch.tensor([[5, 6, 7, 8], [9, 10, 11, 12]])
    mask_BT = torch.tensor([[0, 0, 1, 1], [0, 0, 0, 1]])
    with torch.no_grad():
        found_BP = token_losses(network, input_ids_BT, mask_BT)
        log_BTV = network(input_ids=input_ids_BT).logits.log_softmax(-1)
    expected = [-log_BTV[0, 1, 7], -log_BTV[0, 2, 8], 0.0, -log_BTV[1, 2, 12]]
    assert found_BP.flatten().tolist() == pytest.approx([float(value) for value in expected], rel=1e-5)
