"""Gradients of the last shared layer, read off the graph, against autograd's own."""

import pytest
import torch
from torch import nn

from polytask.balancers._cut import cut
from polytask.balancers.measures import AtAllLayers, AtJunction, AtLastLayer, AtParameters, Sampled, Sketched
from polytask.sharing import MMoE

TASKS = ("a", "b", "c")


def losses_of(z, seed=1):
    """Three losses of the same features, of different scales."""
    random = torch.Generator().manual_seed(seed)
    flat = z.flatten(1)
    heads = torch.randn(3, flat.shape[1], generator=random, dtype=flat.dtype)
    labels = torch.randn(3, len(flat), generator=random, dtype=flat.dtype)
    return {name: (1 + i) * (torch.tanh(flat @ heads[i]) - labels[i]).square().mean() for i, name in enumerate(TASKS)}


def wanted(losses, parameters):
    rows = [
        torch.cat([g.flatten() for g in torch.autograd.grad(loss, parameters, retain_graph=True)]) for loss in losses.values()
    ]
    return torch.stack(rows)


class Block(nn.Module):
    """A block of a transformer: what goes on is a residual stream, its last layer the second of the MLP."""

    def __init__(self, width=6):
        super().__init__()
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = nn.MultiheadAttention(width, 2, batch_first=True)
        self.inside, self.outside = nn.Linear(width, 9), nn.Linear(9, width)

    def forward(self, x):
        normal = self.first(x)
        x = x + self.attention(normal, normal, normal, need_weights=False)[0]
        return x + self.outside(torch.nn.functional.gelu(self.inside(self.second(x))))


class Narrow(nn.Module):
    """A product without a bias, written as an operator."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 4))

    def forward(self, x):
        return torch.tanh(x @ self.weight)


def convolution(**options):
    return nn.Sequential(nn.Conv2d(4, 4, 3, padding=1), nn.ReLU(), nn.Conv2d(4, 6, 3, **options), nn.BatchNorm2d(6), nn.ReLU())


TRUNKS = {
    "linear": (lambda: nn.Sequential(nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU()), (11, 7), lambda net: net[2]),
    "no bias": (lambda: nn.Sequential(nn.Linear(7, 5), nn.ReLU(), Narrow()), (11, 7), lambda net: net[2]),
    "layer norm": (lambda: nn.Sequential(nn.Linear(7, 6), nn.LayerNorm(6), nn.GELU()), (11, 7), lambda net: net[0]),
    "steps": (lambda: nn.Sequential(nn.Linear(7, 6), nn.ReLU(), nn.Linear(6, 5)), (4, 3, 7), lambda net: net[2]),
    "convolution": (convolution, (5, 4, 8, 7), lambda net: net[2]),
    "stride and padding": (lambda: convolution(stride=2, padding=(1, 2)), (5, 4, 8, 7), lambda net: net[2]),
    "groups": (lambda: convolution(groups=2, bias=False), (5, 4, 8, 7), lambda net: net[2]),
    "dilation": (lambda: convolution(dilation=2), (5, 4, 8, 7), lambda net: net[2]),
    "transformer": (lambda: nn.Sequential(Block(), Block()), (5, 3, 6), lambda net: net[1].outside),
}


def build(name):
    torch.manual_seed(0)
    make, shape, last = TRUNKS[name]
    net = make().double()
    return net, last(net), torch.randn(shape, dtype=torch.float64)


@pytest.mark.parametrize("name", TRUNKS)
def test_the_last_layer_is_autograds(name):
    net, last, x = build(name)
    z = net(x)
    losses = losses_of(z)
    rows = wanted(losses, list(last.parameters()))
    measured = AtLastLayer()(cut(losses, (z,), (), TASKS))
    if name != "no bias":  # whose weight lies the other way round
        torch.testing.assert_close(torch.cat(list(measured.features), 1), rows)
    torch.testing.assert_close(measured.gramian, rows @ rows.T)
    assert measured.gramian.diagonal().min() > 0


@pytest.mark.parametrize("rows", [5, 600])  # experts in one product, and one at a time
def test_the_last_layer_of_stacked_experts_is_autograds(rows, monkeypatch):
    monkeypatch.setattr("polytask.sharing._mlps._CACHED_NUMBERS", 2000)
    torch.manual_seed(0)
    sharing = MMoE(5, TASKS, num_experts=3, hidden=(4, 6)).double()
    shared = sharing(torch.randn(rows, 5, dtype=torch.float64))
    losses = {
        name: (1 + i) * torch.tanh(z.sum(1) - i).square().mean()
        for i, (name, z) in enumerate(zip(TASKS, shared.outputs.unbind(0), strict=True))
    }
    layer = sharing.levels[0].layers[1]
    found = wanted(losses, [layer.weight, layer.bias])
    gramian = AtLastLayer()(cut(losses, shared, (), TASKS)).gramian
    torch.testing.assert_close(gramian, found @ found.T, rtol=1e-5, atol=1e-9)
    assert not gramian.requires_grad


def test_channels_last_changes_nothing():
    net, last, x = build("convolution")
    z = net.to(memory_format=torch.channels_last)(x.contiguous(memory_format=torch.channels_last))
    losses = losses_of(z)
    rows = wanted(losses, list(last.parameters()))
    torch.testing.assert_close(AtLastLayer()(cut(losses, (z,), (), TASKS)).gramian, rows @ rows.T)


@pytest.mark.parametrize("name", ["linear", "convolution", "transformer"])
def test_parameters_are_as_many_backward_passes(name):
    net, _, x = build(name)
    z = net(x)
    losses = losses_of(z)
    rows = wanted(losses, list(net.parameters()))
    measured = AtParameters()(cut(losses, (z,), (), TASKS))
    torch.testing.assert_close(measured.gramian, rows @ rows.T)


def test_sparse_gradients_of_a_table_are_those_of_a_dense_one():
    found = []
    for sparse in (True, False):
        torch.manual_seed(0)
        table = nn.Embedding(9, 4, sparse=sparse).double()
        net = nn.Sequential(nn.Linear(4, 3), nn.Tanh()).double()
        z = net(table(torch.tensor([1, 3, 3, 7])))
        parts = cut(losses_of(z), (z,), (), TASKS)
        measured = AtParameters()(parts)
        found.append(measured.gramian)
        parts.write(measured.exact.back([row.sum(0) for row in measured.features]), None)
        assert table.weight.grad.is_sparse is sparse
        found.append(table.weight.grad.to_dense())
    torch.testing.assert_close(found[0], found[2])
    torch.testing.assert_close(found[1], found[3])


def test_where_no_layer_can_be_seen_the_junction_is_measured():
    table = nn.Embedding(9, 4).double()
    z = table(torch.tensor([1, 3, 3, 7]))
    losses = losses_of(z)
    exact = AtJunction()(cut(losses, (z,), (), TASKS)).gramian
    for measure in (AtLastLayer(), Sketched(), Sampled(), AtAllLayers()):
        found = measure(cut(losses, (z,), (), TASKS))
        assert found.features == ()
        torch.testing.assert_close(found.gramian, exact)


def test_tasks_that_share_nothing_measure_zeros():
    losses = {name: nn.Linear(2, 1)(torch.ones(3, 2)).square().mean() for name in TASKS}
    for measure in (AtLastLayer(), Sketched(), AtAllLayers(), AtParameters(), AtJunction()):
        assert not measure(cut(losses, (), (), TASKS)).gramian.any()
