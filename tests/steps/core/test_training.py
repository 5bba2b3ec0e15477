import os
import signal
import threading
from pathlib import Path

import pytest
import torch

from steps.core.artifacts import Validation
from steps.core.documents import Item, Message, joined, row_of
from steps.core.likelihood import encode, first_context, summed_losses
from steps.core.models import load_model, load_tokenizer
from steps.core.shards import write_lines
from steps.core.training import HeldOut, advice_on_memory, reproducible, told_to_stop
from tests.tiny_models import TEXT, tiny_model, tiny_workspace, validation_items


def test_the_validation_loss_is_the_mean_over_the_tokens_of_the_first_items(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path)
    parent = tiny_model(tmp_path / "parent")
    validation = validation_items(workspace)
    network, tokenizer = load_model(parent), load_tokenizer(parent)
    texts = encode(tokenizer, [("0", TEXT[:20]), ("1", TEXT[1:22])], 16)
    expected = sum(summed_losses(network, texts, first_context(tokenizer))) / 32
    held_out = HeldOut(workspace.at(validation.path), validation, parent, num_items=2, num_tokens=16)
    assert held_out.losses(network) == pytest.approx({"train/validation_alpha": expected}, rel=1e-6)


def test_labelled_items_count_by_their_completions(tmp_path: Path) -> None:
    parent = tiny_model(tmp_path / "parent")
    said = (Message(role="prompt", content="Why?"), Message(role="completion", content="So."))
    item = Item(id="0", task="qa", document="0", text=joined(said), messages=said)
    write_lines(tmp_path / "held" / "qa" / "validation.jsonl", [row_of(item)])
    held_out = HeldOut(tmp_path / "held", Validation(digest="", path="held", num_items={"qa": 1}), parent, 4, 16)
    network, tokenizer = load_model(parent), load_tokenizer(parent)
    texts, context = encode(tokenizer, [("a", "Why?"), ("b", item.text)], 60), first_context(tokenizer)
    before, after = (summed_losses(network, [text], context)[0] for text in texts)
    expected = (after - before) / len("\n\nSo.")
    assert held_out.losses(network) == pytest.approx({"train/validation_qa": expected}, abs=1e-5)


def test_no_items_asked_for_means_no_validation(tmp_path: Path) -> None:
    workspace = tiny_workspace(tmp_path)
    parent = tiny_model(tmp_path / "parent")
    validation = validation_items(workspace)
    assert HeldOut(workspace.at(validation.path), validation, parent, 0, 16).losses(load_model(parent)) == {}


def test_chance_comes_from_the_seed_and_the_process_keeps_its_own() -> None:
    before = torch.get_rng_state()
    drawn = []
    for _ in range(2):
        with reproducible(7):
            assert torch.are_deterministic_algorithms_enabled()
            drawn.append(float(torch.rand(())))
    assert drawn[0] == drawn[1]
    assert torch.equal(torch.get_rng_state(), before)
    assert not torch.are_deterministic_algorithms_enabled()


FULL = [
    MemoryError("full"),
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
]


@pytest.mark.parametrize("error", FULL)
def test_every_way_of_running_out_of_memory_gives_the_advice(error: Exception) -> None:
    with (
        pytest.raises(MemoryError, match=r"out of memory: .*; train less at once"),
        advice_on_memory("train less at once"),
    ):
        raise error


def test_another_error_stays_what_it_is() -> None:
    with pytest.raises(RuntimeError, match="shapes differ"), advice_on_memory("train less at once"):
        raise RuntimeError("shapes differ")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_sets_the_event_and_its_handler_is_given_back(number: signal.Signals) -> None:
    handler = signal.getsignal(number)
    with told_to_stop() as stop:
        os.kill(os.getpid(), number)
        assert stop.wait(5)
    assert signal.getsignal(number) is handler


def signalled(*numbers: signal.Signals) -> bool:
    with told_to_stop() as stop:
        for number in numbers:
            os.kill(os.getpid(), number)
            assert stop.wait(5)
        return stop.is_set()


def test_a_second_ctrl_c_does_not_wait() -> None:
    with pytest.raises(KeyboardInterrupt, match="in the middle of a step"):
        signalled(signal.SIGINT, signal.SIGINT)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_one_ctrl_c_waits_though_somebody_passed_it_on(first: signal.Signals) -> None:
    assert signalled(first, {signal.SIGTERM: signal.SIGINT, signal.SIGINT: signal.SIGTERM}[first])


def test_a_second_sigterm_waits() -> None:
    assert signalled(signal.SIGTERM, signal.SIGTERM)


def test_who_ignores_ctrl_c_goes_on_ignoring_it() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with told_to_stop() as stop:
            os.kill(os.getpid(), signal.SIGINT)
            assert not stop.is_set()
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_thread_that_cannot_listen_trains_all_the_same() -> None:
    seen = []

    def work() -> None:
        with told_to_stop() as stop:
            seen.append(stop.is_set())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [False]
