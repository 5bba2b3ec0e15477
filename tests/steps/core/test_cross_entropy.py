import pytest
import torch

from steps.core.cross_entropy import is_plain, linear_cross_entropy

N, M, V = 7, 5, 11
F32 = torch.float32


def made(*, bias: bool = True, frozen: bool = False) -> tuple[torch.Tensor, torch.nn.Linear, torch.Tensor]:
    torch.manual_seed(0)
    head = torch.nn.Linear(M, V, bias=bias).requires_grad_(not frozen)
    return torch.randn(N, M, requires_grad=True), head, torch.randint(V, (N,))


def plain(hidden_NM: torch.Tensor, head: torch.nn.Linear, labels_N: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.cross_entropy(head(hidden_NM), labels_N, reduction="none")


def gradients(nats_N: torch.Tensor, weight_N: torch.Tensor, of: list[torch.Tensor]) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad((nats_N * weight_N).sum(), of, retain_graph=True)


def test_two_tokens_of_a_vocabulary_of_two_by_hand() -> None:
    head = torch.nn.Linear(1, 2, bias=False)
    with torch.no_grad():
        head.weight.copy_(torch.tensor([[0.0], [1.0]]))
    hidden_21 = torch.tensor([[0.0], [float(torch.log(torch.tensor(3.0)))]])  # odds 1:1 and 1:3
    nats_2 = linear_cross_entropy(hidden_21, head, torch.tensor([0, 1]), F32)
    assert nats_2.tolist() == pytest.approx([0.693147, 0.287682], abs=1e-5)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("chunk_rows", [1, 3, 7, 100])
@pytest.mark.parametrize("weight_N", [torch.ones(N) / 9, torch.arange(N) / 4.0], ids=["mean", "weighted"])
def test_losses_and_gradients_are_those_of_whole_logits(weight_N: torch.Tensor, chunk_rows: int, bias: bool) -> None:
    hidden_NM, head, labels_N = made(bias=bias)
    found_N = linear_cross_entropy(hidden_NM, head, labels_N, F32, chunk_rows)
    wanted_N = plain(hidden_NM, head, labels_N)
    assert torch.allclose(found_N, wanted_N, rtol=1e-6, atol=1e-6)
    of = [hidden_NM, *head.parameters()]
    for left, right in zip(gradients(found_N, weight_N, of), gradients(wanted_N, weight_N, of), strict=True):
        assert torch.allclose(left, right, rtol=1e-5, atol=1e-6)


def test_a_second_backward_pass_with_other_weights_has_its_own_gradient() -> None:
    hidden_NM, head, labels_N = made()
    nats_N = linear_cross_entropy(hidden_NM, head, labels_N, F32, 3)
    first, *_ = gradients(nats_N, torch.ones(N), [head.weight])
    kept = first.clone()
    second, *_ = gradients(nats_N, torch.full((N,), 2.0), [head.weight])
    assert torch.equal(first, kept)
    assert torch.allclose(second, 2 * first, rtol=1e-5, atol=1e-6)


def test_a_frozen_layer_gets_no_gradient_and_the_states_still_do() -> None:
    hidden_NM, head, labels_N = made(frozen=True)
    (found_NM,) = gradients(linear_cross_entropy(hidden_NM, head, labels_N, F32), torch.ones(N), [hidden_NM])
    (wanted_NM,) = gradients(plain(hidden_NM, head, labels_N), torch.ones(N), [hidden_NM])
    assert torch.allclose(found_NM, wanted_NM, rtol=1e-5, atol=1e-6)
    linear_cross_entropy(hidden_NM, head, labels_N, F32).sum().backward()
    assert head.weight.grad is None


def test_without_gradients_none_are_made() -> None:
    hidden_NM, head, labels_N = made()
    with torch.no_grad():
        assert not linear_cross_entropy(hidden_NM, head, labels_N, F32).requires_grad


def test_products_are_in_the_precision_of_autocast_and_sums_over_tokens_are_not() -> None:
    hidden_NM, head, labels_N = made()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        wanted_N = torch.nn.functional.cross_entropy(head(hidden_NM).float(), labels_N, reduction="none")
    found_N = linear_cross_entropy(hidden_NM, head, labels_N, torch.bfloat16)
    assert torch.allclose(found_N, wanted_N, rtol=1e-6, atol=1e-6)
    left, *_ = gradients(found_N, torch.ones(N), [head.weight])
    right, *_ = gradients(wanted_N, torch.ones(N), [head.weight])
    assert left.dtype == torch.float32
    assert torch.allclose(left, right, atol=2e-2)


def test_a_plain_layer_is_told_from_one_that_computes_or_shows_more() -> None:
    class Louder(torch.nn.Linear):
        def forward(self, given: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(given)

    head = torch.nn.Linear(M, V)
    assert is_plain(head)
    assert not is_plain(Louder(M, V))
    watch = head.register_forward_hook(lambda *_: None)
    assert not is_plain(head)
    watch.remove()
    assert is_plain(head)
