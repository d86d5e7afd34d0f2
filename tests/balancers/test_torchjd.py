"""TorchJD's objects as balancers: equal to its own engine, with missing tasks and losses that are no numbers."""

import sys
from functools import partial

import pytest
import torch

from polytask.balancers import PCGrad, TorchJD
from polytask.errors import ConfigError
from polytask.testing import check_balancer

aggregation = pytest.importorskip("torchjd.aggregation", reason="TorchJD is not installed")


class Net(torch.nn.Module):
    """A trunk with an embedding table, and three heads."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.table, self.trunk = torch.nn.Embedding(5, 4), torch.nn.Linear(4, 6)
        self.heads = torch.nn.ModuleDict({name: torch.nn.Linear(6, 1) for name in "abc"})
        self.double()
        self.x, self.y = torch.tensor([0, 2, 2, 3, 1, 0]), torch.randn(3, 6, 1).double()

    def losses(self, names="abc"):
        z = torch.tanh(self.trunk(self.table(self.x)))
        return {n: (1 + "abc".index(n)) * (self.heads[n](z) - self.y["abc".index(n)]).square().mean() for n in names}

    def shared(self):
        return [self.table.weight, *self.trunk.parameters()]

    def rows(self, names="abc"):
        found = []
        for name in names:
            gradients = torch.autograd.grad(self.losses(name)[name], self.shared())
            found.append(torch.cat([gradient.flatten() for gradient in gradients]))
        return torch.stack(found)

    def taken(self):
        found = torch.cat([parameter.grad.flatten() for parameter in self.shared()])
        self.zero_grad()
        return found


def balancer(kind, tasks="abc", **options):
    return TorchJD(tuple(tasks), aggregator=kind(), **options)


@pytest.mark.parametrize("kind", ["MGDA", "IMTLG", "AlignedMTL", "ConFIG", "Sum", "Mean"])
def test_an_aggregator_gets_the_exact_jacobian(kind):
    kind, net = getattr(aggregation, kind), Net()
    rows, own = net.rows(), torch.autograd.grad(net.losses()["c"], net.heads["c"].weight)[0]
    balance = balancer(kind).backward(net.losses())
    torch.testing.assert_close(net.heads["c"].weight.grad, own)
    found = net.taken()
    torch.testing.assert_close(found, kind()(rows))
    torch.testing.assert_close(torch.stack(list(balance.weights.values())) @ rows, found)  # in their span: the weights say it
    torch.testing.assert_close(balance.gramian, rows @ rows.T)


def test_an_aggregator_outside_the_span_of_the_gradients():
    net, rows = Net(), Net().rows()
    balance = TorchJD(tuple("abc"), aggregator=aggregation.TrimmedMean(1)).backward(net.losses())
    wanted = rows.median(0).values
    torch.testing.assert_close(net.taken(), wanted)
    nearest = torch.linalg.lstsq(rows.T, wanted[:, None]).solution[:, 0]
    torch.testing.assert_close(torch.stack(list(balance.weights.values())), nearest)


@pytest.mark.parametrize("measure", ["parameters", "last_layer", "junction"])
def test_a_weighting_gets_the_gramian_of_any_measure(measure):
    net, rows = Net(), Net().rows()
    balance = balancer(aggregation.IMTLGWeighting, measure=measure).backward(net.losses())
    weights = torch.stack(list(balance.weights.values()))
    torch.testing.assert_close(weights, aggregation.IMTLGWeighting()(balance.gramian))
    torch.testing.assert_close(net.taken(), weights @ rows)


def test_a_weighting_of_the_jacobian_gets_the_jacobian():
    """Given the Gramian it would give other weights without a word."""
    net, rows = Net(), Net().rows()
    assert balancer(aggregation.SDMGradWeighting).reads_rows
    constant = aggregation.ConstantWeighting(torch.tensor([3.0, 0.5, 1.0]).double())
    TorchJD(tuple("abc"), aggregator=constant).backward(net.losses())
    torch.testing.assert_close(net.taken(), torch.tensor([3.0, 0.5, 1.0]).double() @ rows)


@pytest.mark.parametrize("kind", ["MGDA", "MGDAWeighting"])
def test_absent_and_broken_tasks_have_no_row(kind):
    kind, net = getattr(aggregation, kind), Net()
    balancer(kind, measure="parameters").backward(net.losses("ac"))
    wanted = net.taken()
    losses = net.losses()
    losses["b"] = losses["b"] * float("nan")
    balance = balancer(kind, measure="parameters").backward(losses)
    assert balance.weights["b"] == 0
    torch.testing.assert_close(net.taken(), wanted)


@pytest.mark.parametrize("kind", ["MGDA", "MGDAWeighting", "AlignedMTLWeighting"])
def test_contract(kind):
    check_balancer(partial(balancer, getattr(aggregation, kind)), absent_changes_others=True)


def test_a_class_or_a_balancer_in_its_place_is_named():
    with pytest.raises(ConfigError, match=r"Aggregator or a Weighting.*PCGrad"):
        TorchJD(("a",), aggregator=PCGrad(("a",)))


def test_without_torchjd_the_error_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchjd.aggregation", None)
    with pytest.raises(ConfigError, match="pip install torchjd"):
        TorchJD(("a",), aggregator=torch.nn.Identity())
