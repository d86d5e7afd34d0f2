import pytest
import torch
from torch import nn

from polytask.encoders import EmbeddingTable
from polytask.errors import CheckpointError, ConfigError
from polytask.optimizers import WeightAverage


def model(size=3):
    torch.manual_seed(0)
    return nn.ModuleDict({"linear": nn.Linear(size, 1), "table": EmbeddingTable([5], 2)})


def test_average_by_hand_and_tables_left_alone():
    net = model()
    average = WeightAverage(net, decay=0.15)
    expected = net["linear"].bias.detach().clone()
    for step, decay in enumerate([0.1, 0.15, 0.15]):  # (1 + t) / (10 + t), at most 0.15
        with torch.no_grad():
            net["linear"].bias.fill_(step + 1.0)
            net["table"].weight.fill_(step + 1.0)
        average.update()
        expected = decay * expected + (1 - decay) * (step + 1.0)
    with average.applied():
        torch.testing.assert_close(net["linear"].bias.detach(), expected)
        assert torch.equal(net["table"].weight, torch.full((5, 2), 3.0))
    assert net["linear"].bias.item() == 3.0


def test_own_weights_come_back_after_an_error():
    net = model()
    average = WeightAverage(net)
    with torch.no_grad():
        net["linear"].weight.fill_(9.0)
    with pytest.raises(RuntimeError), average.applied():
        raise RuntimeError
    assert torch.equal(net["linear"].weight, torch.full((1, 3), 9.0))


def test_an_average_is_nearer_to_the_optimum_than_noisy_steps():
    generator = torch.Generator().manual_seed(1)
    net = nn.Linear(20, 1, bias=False)
    average, errors = WeightAverage(net, decay=0.99), []
    for step in range(2000):
        with torch.no_grad():  # steps of noise around weight 1
            net.weight.lerp_(1.0 + torch.randn(1, 20, generator=generator), 0.2)
        average.update()
        if step > 500:
            own = (net.weight - 1).norm()
            with average.applied():
                errors.append(((net.weight - 1).norm() / own).item())
    assert sum(errors) / len(errors) < 0.45


def test_state_goes_on_and_another_model_is_refused():
    net = model()
    one, other = WeightAverage(net), WeightAverage(net)
    with torch.no_grad():
        net["linear"].weight.fill_(2.0)
    one.update()
    other.load_state_dict(one.state_dict())
    one.update()
    other.update()
    with one.applied():
        weight = net["linear"].weight.detach().clone()
    with other.applied():
        assert torch.equal(net["linear"].weight, weight)
    with pytest.raises(CheckpointError, match=r"linear\.weight"):
        WeightAverage(model(4)).load_state_dict(one.state_dict())


@pytest.mark.parametrize("decay", [1.0, -0.1])
def test_memory_is_a_share(decay):
    with pytest.raises(ConfigError):
        WeightAverage(model(), decay=decay)
