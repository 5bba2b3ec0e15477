import torch

from steps.core.blocks import MicroBatch
from steps.core.forward import Outputs, Seen, StepFacts
from steps.methods.objective.next_token import NextToken


def test_the_loss_is_the_micro_batchs_part_of_the_mean_of_the_step() -> None:
    input_ids = torch.tensor([[0, 1, 2]])
    batch = MicroBatch(input_ids, torch.tensor([[False, True, True]]), None, None, None, ["new/alpha"])
    logits = torch.log(torch.tensor([[0.25, 0.5, 0.25], [0.1, 0.1, 0.8]]))
    seen = Seen(batch, Outputs(logits, None), StepFacts(1, 1, num_losses=4, num_replayed=0))
    found = NextToken().loss(seen, {})
    assert found is not None
    assert torch.isclose(found, -(torch.log(torch.tensor(0.5)) + torch.log(torch.tensor(0.8))) / 4)
