"""Loss balancers: one backward pass, equal to differentiating the objective, and losses that stay apart."""

import pytest
import torch

from polytask.balancers import Balancer, Equal, LossBalancer, Uncertainty
from polytask.errors import PolytaskError
from polytask.testing import check_balancer


class GeometricMean(LossBalancer):
    """exp(mean log L): an objective whose derivative is no constant."""

    def objective(self, losses, names):
        return torch.exp(torch.log(losses).mean())


def net_and_losses():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    y = net(torch.randn(6, 3))
    return net, {"click": (y[:, 0] - 1).pow(2).mean(), "buy": 40 * (y[:, 1] + 2).pow(2).mean()}


@pytest.mark.parametrize("make", [Equal, GeometricMean, lambda tasks: Uncertainty(tasks, init=0.7)])
def test_equals_one_backward_pass_of_the_objective(make):
    balancer = make(["click", "buy"])
    net, losses = net_and_losses()
    balancer.objective(torch.stack(list(losses.values())), list(losses)).backward()
    expected = [parameter.grad for parameter in [*net.parameters(), *balancer.parameters()]]
    net, losses = net_and_losses()
    balancer.zero_grad()
    balancer.backward(losses)
    found = [parameter.grad for parameter in [*net.parameters(), *balancer.parameters()]]
    for one, other in zip(expected, found, strict=True):
        torch.testing.assert_close(one, other)


def test_equal_is_bit_for_bit_the_summed_loss():
    net, losses = net_and_losses()
    (losses["click"] + losses["buy"]).backward()
    expected = [parameter.grad for parameter in net.parameters()]
    net, losses = net_and_losses()
    Equal(["click", "buy"]).backward(losses)
    assert all(torch.equal(one, parameter.grad) for one, parameter in zip(expected, net.parameters(), strict=True))


def test_gradients_are_added_to_what_is_there():
    net, losses = net_and_losses()
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    Equal(["click", "buy"]).backward(losses)
    added = net[2].bias.grad.clone()
    net.zero_grad()
    Equal(["click", "buy"]).backward(net_and_losses_of(net))
    torch.testing.assert_close(added, net[2].bias.grad + 1)


def net_and_losses_of(net):
    torch.manual_seed(0)
    torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)  # draw what building the net drew
    y = net(torch.randn(6, 3))
    return {"click": (y[:, 0] - 1).pow(2).mean(), "buy": 40 * (y[:, 1] + 2).pow(2).mean()}


def test_the_balance_is_detached_and_is_what_was_decided():
    _, losses = net_and_losses()
    balance = GeometricMean(["click", "buy"]).backward(losses)
    assert not any(value.requires_grad for part in (balance.losses, balance.weights) for value in part.values())
    # d exp(mean log L) / d L_k = objective / (k L_k)
    objective = (losses["click"] * losses["buy"]).sqrt().item()
    assert balance.weights["buy"].item() == pytest.approx(objective / (2 * losses["buy"].item()))
    assert balance.weights["click"].item() == pytest.approx(objective / (2 * losses["click"].item()))


def test_an_unknown_task_and_no_task_are_refused():
    balancer = Equal(["click", "buy"])
    with pytest.raises(PolytaskError, match=r"'clik'.*Did you mean 'click'"):
        balancer.backward({"clik": torch.ones((), requires_grad=True)})
    with pytest.raises(PolytaskError, match="at least one loss"):
        balancer.backward({})
    with pytest.raises(PolytaskError, match="each once"):
        Equal(["click", "click"])


def test_the_contract_catches_broken_balancers():
    """Each of these breaks one promise; a contract that lets one through is none."""

    class ByPosition(LossBalancer):
        def objective(self, losses, names):
            return (torch.arange(1.0, len(names) + 1) * losses).sum()

    class Stacked(LossBalancer):
        def backward(self, losses, shared=(), junction=(), penalty=None):
            self._check(losses)
            stacked = torch.stack(list(losses.values()))
            weights = torch.softmax(stacked.detach(), 0) * 0 + 1
            ((weights * stacked).sum() + (0 if penalty is None else penalty)).backward()
            from polytask.balancers import Balance

            return Balance({name: loss.detach() for name, loss in losses.items()}, dict(zip(losses, weights, strict=True)))

        def objective(self, losses, names):
            raise NotImplementedError

    class Halved(LossBalancer):
        def objective(self, losses, names):
            return 0.5 * losses.sum()

    class Forgetful(LossBalancer):
        def __init__(self, tasks):
            super().__init__(tasks)
            self.seen = 0

        def objective(self, losses, names):
            self.seen += 1
            return losses.sum() * (self.seen if len(losses) > 1 else 1)

    class TouchesAll(LossBalancer):
        def __init__(self, tasks):
            super().__init__(tasks)
            self.log = torch.nn.ParameterDict({f"task_{name}": torch.nn.Parameter(torch.zeros(())) for name in tasks})

        def objective(self, losses, names):
            return losses.sum() + 0.0 * sum(self.log.values())

    for broken, promise in [
        (ByPosition, "permuting"),
        (Stacked, "NaN loss"),
        (Halved, "one task alone"),
        (Forgetful, "absence|state"),
        (TouchesAll, "absent task's parameter"),
    ]:
        assert issubclass(broken, Balancer)
        with pytest.raises(AssertionError, match=promise):
            check_balancer(broken)
