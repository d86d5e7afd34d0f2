"""Measures inside steps: compiled trunks, half precision with norms, dropout, accumulation, reused weights."""

import pytest
import torch
from torch import nn

from polytask.balancers._gradient import GramianBalancer

TASKS = ("a", "b", "c")
MEASURES = ["junction", "sampled", "sketched", "all_layers", "last_layer", "parameters"]


class Leaning(GramianBalancer):
    """Weights that depend on lengths."""

    def weigh(self, measured, losses, names):
        return 1 / (measured.gramian.diagonal() / measured.gramian.diagonal().mean() + 0.1)


class Net(nn.Module):
    def __init__(self, *between, trunk=lambda module: module):
        super().__init__()
        torch.manual_seed(0)
        self.trunk = trunk(nn.Sequential(nn.Linear(5, 8), *between, nn.ReLU(), nn.Linear(8, 6), nn.ReLU()))
        self.heads = nn.ModuleDict({name: nn.Linear(6, 1) for name in TASKS})

    def losses(self, seed=1):
        random = torch.Generator().manual_seed(seed)
        x, y = torch.randn(16, 5, generator=random), torch.randn(3, 16, 1, generator=random)
        torch.manual_seed(2)  # of dropout
        z = self.trunk(x)
        return {name: (1 + i) * (head(z) - y[i]).square().mean() for i, (name, head) in enumerate(self.heads.items())}

    def trunk_gradient(self):
        return torch.cat([p.grad.flatten() for p in self.trunk.parameters()])


def assert_applies_its_weights(net, balance):
    """The trunk has the gradient of the losses with the weights that were decided."""
    found = net.trunk_gradient()
    net.zero_grad()
    losses = net.losses()
    sum(balance.weights[name].float() * loss for name, loss in losses.items()).backward()
    torch.testing.assert_close(found, net.trunk_gradient(), rtol=1e-4, atol=1e-6)
    assert len({float(weight) for weight in balance.weights.values()}) == 3


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("between", [lambda: nn.Dropout(0.5), lambda: nn.LayerNorm(8), lambda: nn.BatchNorm1d(8)])
def test_what_is_applied_is_exact(measure, between):
    net = Net(between())
    assert_applies_its_weights(net, Leaning(TASKS, measure=measure).backward(net.losses()))


@pytest.mark.parametrize("measure", MEASURES)
def test_batch_norm_sees_a_step_once(measure):
    net = Net(nn.BatchNorm1d(8))
    Leaning(TASKS, measure=measure).backward(net.losses())
    assert net.trunk[1].num_batches_tracked == 1


@pytest.mark.parametrize("measure", MEASURES)
@pytest.mark.parametrize("norm", [nn.LayerNorm, nn.BatchNorm1d])
def test_half_precision_with_a_norm_is_close_to_full(measure, norm):
    net = Net(norm(8))
    options = {"name": measure, "rank": 64} if measure in ("sketched", "all_layers") else measure
    full = Leaning(TASKS, measure=options).backward(net.losses())
    net.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        losses = net.losses()
    half = Leaning(TASKS, measure=options).backward(losses)
    assert half.gramian.dtype == torch.float64
    for name in TASKS:
        assert float(half.weights[name]) == pytest.approx(float(full.weights[name]), rel=0.1)
    assert all(p.grad.dtype == torch.float32 and p.grad.isfinite().all() for p in net.parameters())


def test_under_a_compiled_trunk_the_junction_is_measured():
    plain, compiled = Net(), Net(trunk=lambda module: torch.compile(module, backend="aot_eager"))
    wanted = Leaning(TASKS, measure="junction").backward(plain.losses())
    found = Leaning(TASKS, measure="last_layer").backward(compiled.losses())
    torch.testing.assert_close(found.gramian, wanted.gramian, rtol=1e-4, atol=1e-8)
    torch.testing.assert_close(compiled.trunk_gradient(), plain.trunk_gradient(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("measure", MEASURES)
def test_steps_add_up(measure):
    net, balancer = Net(), Leaning(TASKS, measure=measure)
    first = balancer.backward(net.losses(1)).weights
    alone = net.trunk_gradient().clone()
    net.zero_grad()
    second = balancer.backward(net.losses(3)).weights
    other = net.trunk_gradient().clone()
    net.zero_grad()
    for seed, weights in ((1, first), (3, second)):
        sum(weights[name].float() * loss for name, loss in net.losses(seed).items()).backward()
    torch.testing.assert_close(net.trunk_gradient(), alone + other, rtol=1e-4, atol=1e-6)


def test_between_measurements_the_last_weights_are_used():
    net, balancer = Net(), Leaning(TASKS, measure="last_layer", every=3)
    balances = [balancer.backward(net.losses(seed)) for seed in range(4)]
    assert [balance.gramian is None for balance in balances] == [False, True, True, False]
    for name in TASKS:
        first, third, fourth = (float(balances[place].weights[name]) for place in (0, 2, 3))
        assert third == pytest.approx(first, rel=1e-6)  # kept in float32
        assert fourth != pytest.approx(first, rel=1e-3)
