"""Slow references: plain loops over rows, in float64, with nothing of the code they judge."""

import pytest
import torch


def slow_mlp(mlps, index, row):
    """MLP `index` of a stack on one row, unit by unit."""
    for step in mlps.steps():
        weights = step.weight[index].tolist()
        biases = [0.0] * len(weights) if step.bias is None else step.bias[index].tolist()
        out = [b + sum(w * v for w, v in zip(unit, row, strict=True)) for unit, b in zip(weights, biases, strict=True)]
        row = out if isinstance(step.then, torch.nn.Identity) else [max(value, 0.0) for value in out]
    return row


def slow_softmax(logits):
    powers = [torch.tensor(value, dtype=torch.float64).exp().item() for value in logits]
    return [power / sum(powers) for power in powers]


def slow_mix(gate, experts):
    return [sum(g * expert[unit] for g, expert in zip(gate, experts, strict=True)) for unit in range(len(experts[0]))]


@pytest.fixture
def slow():
    class Slow:
        mlp = staticmethod(slow_mlp)
        softmax = staticmethod(slow_softmax)
        mix = staticmethod(slow_mix)

    return Slow


@pytest.fixture
def scrambled():
    """Float64, every parameter away from where it started: a bias that starts at 0 hides nothing."""

    def scramble(module, seed=3):
        generator = torch.Generator().manual_seed(seed)
        module = module.double().eval()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
        return module

    return scramble
