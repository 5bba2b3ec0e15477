import pytest
import torch

from steps.core.relative_entropy import relative_entropy

GENERATOR = torch.Generator().manual_seed(3)
NEW_NV, OLD_NV = (3 * torch.randn(7, 11, generator=GENERATOR, dtype=torch.float64) for _ in range(2))


def written_out(new_NV: torch.Tensor, old_NV: torch.Tensor, temperature: float, *, of_new: bool) -> torch.Tensor:
    q_NV, p_NV = torch.softmax(new_NV / temperature, dim=1), torch.softmax(old_NV / temperature, dim=1)
    return (q_NV * (q_NV / p_NV).log()).sum() if of_new else (p_NV * (p_NV / q_NV).log()).sum()


@pytest.mark.parametrize("of_new", [False, True])
@pytest.mark.parametrize("temperature", [1.0, 2.5])
@pytest.mark.parametrize("chunk_rows", [1, 3, 7, None])
def test_it_is_the_sum_of_divergences_and_so_is_its_gradient(
    of_new: bool, temperature: float, chunk_rows: int | None
) -> None:
    one, other = (NEW_NV.clone().requires_grad_(True) for _ in range(2))
    found = relative_entropy(one, OLD_NV, temperature=temperature, of_new=of_new, chunk_rows=chunk_rows)
    wanted = written_out(other, OLD_NV, temperature, of_new=of_new)
    (3 * found).backward()
    (3 * wanted).backward()
    assert torch.allclose(found, wanted, rtol=1e-12)
    assert one.grad is not None
    assert other.grad is not None
    assert torch.allclose(one.grad, other.grad, atol=1e-12)


@pytest.mark.parametrize("of_new", [False, True])
def test_equal_logits_are_exactly_0_apart_and_pull_nowhere(of_new: bool) -> None:
    new_NV = NEW_NV.float().requires_grad_(True)
    found = relative_entropy(new_NV, new_NV.detach().clone(), temperature=2.0, of_new=of_new)
    found.backward()
    assert float(found.detach()) == 0.0
    assert new_NV.grad is not None
    assert not new_NV.grad.any()


def test_logits_are_left_as_they_were_and_nothing_is_kept_where_nothing_learns() -> None:
    new_NV, old_NV = NEW_NV.clone(), OLD_NV.clone()
    assert not relative_entropy(new_NV, old_NV).requires_grad
    assert torch.equal(new_NV, NEW_NV)
    assert torch.equal(old_NV, OLD_NV)
