import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from safetensors.torch import load_file

from steps.core.models import load_model
from steps.methods.params import Attached
from steps.methods.params.peft import PROVEN, REFUSED, Peft
from tests.steps.methods.params.learning import learned, logits_BTV, nats
from tests.tiny_models import rows_of, tiny_model
from tests.training import ends_like_one_never_stopped, section

KNOBS: dict[str, dict[str, Any]] = {
    "C3A": {"block_size": 32},  # a factor of every width of the tiny model
}


@pytest.mark.filterwarnings("ignore::UserWarning")  # of plain peft on reload: kernels, layers, projections
@pytest.mark.parametrize("tuner", PROVEN)
def test_a_tuner_offered_reloads_in_plain_peft_and_merges(tmp_path: Path, tuner: str) -> None:
    peft = Peft(tuner=tuner, knobs=KNOBS.get(tuner, {}))
    parent = tiny_model(tmp_path / "parent")
    attached = learned(peft, parent)
    trained, loss = logits_BTV(attached.network), nats(attached.network)
    assert loss < nats(load_model(parent)) - 1e-3
    assert attached.switched_off
    with attached.switched_off():
        assert torch.equal(logits_BTV(attached.network), logits_BTV(load_model(parent)))
    merged = peft.finish(attached, tmp_path / "adapter")
    assert torch.allclose(logits_BTV(merged), trained, atol=1e-4, rtol=0)
    assert merged.state_dict().keys() == load_model(parent).state_dict().keys()
    torch.manual_seed(12345)  # what is drawn on reload must not matter
    reloaded = PeftModel.from_pretrained(load_model(parent), tmp_path / "adapter").eval()
    assert torch.allclose(logits_BTV(reloaded), trained, atol=1e-4, rtol=0)
    assert nats(reloaded) == pytest.approx(loss, abs=1e-5)


def untrained(attached: Attached) -> dict[str, torch.Tensor]:
    """All tensors of a network that the optimiser does not move."""
    network = attached.network
    found = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    return {name: tensor for name, tensor in found.items() if name not in attached.trained}


@pytest.mark.parametrize("tuner", PROVEN)
def test_it_begins_at_the_parent_and_all_that_changes_is_trained_so_that_all_else_comes_back_on_resume(
    tmp_path: Path, tuner: str
) -> None:
    peft = Peft(tuner=tuner, knobs=KNOBS.get(tuner, {}))
    trained = learned(peft, tmp_path / "parent", num_steps=2)
    again = peft.attach(load_model(tmp_path / "parent"), 1, {})
    assert torch.allclose(logits_BTV(again.network), logits_BTV(load_model(tmp_path / "parent")), atol=1e-5, rtol=0)
    assert again.trained.keys() == trained.trained.keys()
    expected, found = untrained(trained), untrained(again)
    assert expected.keys() == found.keys()
    for name, tensor in expected.items():
        same = found[name].to_dense() if tensor.is_sparse else found[name]
        assert torch.equal(tensor.to_dense() if tensor.is_sparse else tensor, same), name


def test_every_tuner_of_peft_is_offered_or_refused_with_a_reason() -> None:
    assert sorted([*PROVEN, *REFUSED]) == sorted(kind.value for kind in PEFT_TYPE_TO_CONFIG_MAPPING)
    assert all(name in (Peft.__doc__ or "") for name in PROVEN)


@pytest.mark.parametrize("tuner", sorted(REFUSED))
def test_a_tuner_that_cannot_be_merged_or_reloaded_is_refused_with_the_reason(tuner: str) -> None:
    with pytest.raises(ValueError, match=f"tuner {tuner} is refused: .*; there are: ADAMSS, BOFT"):
        Peft(tuner=tuner)


def test_an_unknown_tuner_is_answered_with_the_list() -> None:
    with pytest.raises(ValueError, match=r"no tuner 'MAGIC' that is proven to reload; there are: ADAMSS, .*, WAVEFT"):
        Peft(tuner="magic")


def test_unknown_knobs_are_answered_with_the_tuners(tmp_path: Path) -> None:
    network = load_model(tiny_model(tmp_path))
    with pytest.raises(ValueError, match=r"tuner HRA has no knob 'rank'; there are: apply_GS, .*, target_modules"):
        Peft(tuner="hra", knobs={"rank": 4}).attach(network, 0, {})


@pytest.mark.parametrize(
    ("knobs", "said"),
    [
        ({"modules_to_save": ["lm_head"]}, "'modules_to_save' is not the recipe's to set"),
        ({"inference_mode": True}, "'inference_mode' is not the recipe's to set"),
        ({"vera_dropout": 0.1}, "'vera_dropout' does nothing here: training has no dropout"),
    ],
)
def test_knobs_that_are_not_the_recipes_are_refused(knobs: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Peft(tuner="VERA", knobs=knobs)


def test_what_does_not_fit_the_model_is_told_before_training(tmp_path: Path) -> None:
    parent = tiny_model(tmp_path)
    with pytest.raises(ValueError, match=r"tuner C3A: peft refuses these knobs for this model: .*factor of the input"):
        Peft(tuner="C3A").attach(load_model(parent), 0, {})
    with pytest.raises(ValueError, match=r"tuner VERA: target_modules \['query'\] fit no layer; there are: .*'q_proj'"):
        Peft(tuner="VERA", knobs={"target_modules": ["query"]}).attach(load_model(parent), 0, {})
    with pytest.raises(ValueError, match="target 'lm_head' is tied"):
        Peft(tuner="LOHA", knobs={"target_modules": ["lm_head"]}).attach(load_model(parent), 0, {})
    with pytest.raises(ValueError, match=r"changes logits by .* before the first step, wanted at most 0.001"):
        Peft(tuner="FOURIERFT", knobs={"init_weights": False}).attach(load_model(parent), 0, {})


@pytest.mark.parametrize("tuner", ["SHIRA", "VERA", "FOURIERFT", "TINYLORA"])
def test_the_seed_draws_what_is_random(tmp_path: Path, tuner: str) -> None:
    parent = tiny_model(tmp_path / "parent")
    kept = []
    for number, seed in enumerate((1, 1, 2)):
        peft = Peft(tuner=tuner)
        attached = peft.attach(load_model(parent), seed, {})
        for parameter in attached.trained.values():
            torch.nn.init.constant_(parameter, 0.5)  # what is left to differ are masks, places and projections
        kept.append(peft.finish(attached, tmp_path / str(number)).state_dict())
    assert all(torch.equal(kept[0][name], kept[1][name]) for name in kept[0])
    assert not all(torch.equal(kept[0][name], kept[2][name]) for name in kept[0])


def test_shira_moves_the_entries_of_its_mask_alone(tmp_path: Path) -> None:
    peft = Peft(tuner="SHIRA", knobs={"r": 2, "target_modules": ["q_proj"]})
    attached = learned(peft, tmp_path / "parent")
    after = peft.finish(attached, tmp_path / "adapter").state_dict()
    before = load_file(tmp_path / "parent/model.safetensors")
    moved = [int((after[name] != before[name]).sum()) for name in before if "q_proj" in name]
    assert all(0 < number <= 2 * (64 + 64) for number in moved)  # r·(in + out) entries
    assert all(torch.equal(after[name], before[name]) for name in before if "q_proj" not in name)


def test_the_adapter_names_no_folder_of_this_machine(tmp_path: Path) -> None:
    peft = Peft(tuner="IA3")
    peft.finish(peft.attach(load_model(tiny_model(tmp_path / "parent")), 0, {}), tmp_path / "adapter")
    text = (tmp_path / "adapter/adapter_config.json").read_text()
    assert str(tmp_path) not in text
    assert json.loads(text)["target_modules"] == ["down_proj", "k_proj", "v_proj"]


@pytest.mark.parametrize("tuner", ["VERA", "SHIRA"])
def test_it_trains_and_resumes_exactly(tmp_path: Path, tuner: str) -> None:
    whole = ends_like_one_never_stopped(tmp_path, section(params={"method": "peft", "tuner": tuner}))
    losses = [row["train/loss_nats_per_token"] for row in rows_of(tmp_path / "straight" / whole.history)[1:]]
    assert sum(losses[-4:]) < sum(losses[:4])
