"""The base of balancers of inner products: what it measures, what it writes, what it does between measurements."""

import pytest
import torch

from polytask.balancers._gradient import GramianBalancer
from polytask.balancers.measures import MEASURES, AtParameters, Sketched
from polytask.errors import ConfigError
from polytask.heads import Heads
from polytask.sharing import SHARINGS
from polytask.tasks import Regression

TASKS = ("a", "b", "c")


class Lengths(GramianBalancer):
    """Weights that can be told apart, from all that `weigh` is given; it keeps what it saw."""

    def weigh(self, measured, losses, names):
        self.seen = (measured, losses, names)
        return measured.gramian.diagonal().sqrt() / 7 + losses + torch.tensor([1.0 + TASKS.index(name) for name in names])


class Net(torch.nn.Module):
    """Two shared layers of a kind, and losses of unlike size."""

    def __init__(self, sharing="shared_bottom"):
        super().__init__()
        torch.manual_seed(0)
        self.sharing = SHARINGS[sharing](5, TASKS)
        self.heads = Heads(self.sharing.out_features, [Regression(name) for name in TASKS], hidden=(3,))
        self.double()
        self.x, self.y = torch.randn(9, 5, dtype=torch.float64), torch.randn(3, 9, dtype=torch.float64)

    def losses(self, names=TASKS, *, seed=1):
        torch.manual_seed(seed)
        shared = self.sharing(self.x)
        found = self.heads(shared.outputs, apart=True)
        errors = {name: (found[name][:, 0] - self.y[place]).square().mean() for place, name in enumerate(TASKS)}
        return shared, {name: (1 + TASKS.index(name)) * errors[name] for name in names}

    def take(self):
        found = {name: parameter.grad for name, parameter in self.named_parameters()}
        self.zero_grad()
        return found


def by_hand(net, balance, names=TASKS, spoiled=()):
    """Weighted gradients of what is shared, own ones of heads."""
    _, losses = net.losses(names)
    wanted = {}
    for name, parameter in net.named_parameters():
        own = [torch.autograd.grad(losses[task], parameter, retain_graph=True, allow_unused=True)[0] for task in names]
        shared = name.startswith("sharing")
        kept = [
            (balance.weights[task].to(g) if shared else 1.0) * g
            for task, g in zip(names, own, strict=True)
            if g is not None and task not in spoiled
        ]
        wanted[name] = sum(kept) if kept else None
    return wanted


def assert_same(found, wanted):
    for name, gradient in wanted.items():
        if gradient is None:
            assert found[name] is None or not found[name].isfinite().all() or not found[name].any(), name
        else:
            torch.testing.assert_close(found[name], gradient, rtol=1e-6, atol=1e-9, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("measure", MEASURES)
def test_whatever_is_measured_the_weighted_gradient_is_exact(measure):
    net, balancer = Net(), Lengths(TASKS, measure=measure)
    shared, losses = net.losses(("c", "a"))
    balance = balancer.backward(losses, junction=shared)
    assert_same(net.take(), by_hand(net, balance, ("c", "a")))


@pytest.mark.parametrize("sharing", ["shared_bottom", "mmoe", "cgc"])
@pytest.mark.parametrize("how", ["shared", "junction"])
def test_forms_of_a_junction_give_one_step(sharing, how):
    net = Net(sharing)
    gradients = []
    for told in ("outputs", how):
        shared, losses = net.losses()
        junction = shared if told == "outputs" else shared.junction if told == "junction" else ()
        parameters = net.sharing.parameters() if told == "shared" else ()
        if told == "shared" and sharing != "shared_bottom":
            pytest.skip("gates are private parameters of the sharing")
        balance = Lengths(TASKS, measure="parameters").backward(losses, junction=junction, shared=parameters)
        gradients.append((balance, net.take()))
    (one, expected), (other, found) = gradients
    torch.testing.assert_close(one.gramian, other.gramian)
    assert_same(found, expected)


def test_weigh_sees_the_present_tasks_in_the_order_of_the_losses():
    net, balancer = Net(), Lengths(TASKS, measure="parameters")
    shared, losses = net.losses(("c", "a"))
    balance = balancer.backward(losses, junction=shared)
    measured, values, names = balancer.seen
    assert names == ("c", "a")
    assert values.tolist() == [losses["c"].item(), losses["a"].item()]
    assert not values.requires_grad
    rows = torch.cat(list(measured.features), 1)
    torch.testing.assert_close(rows @ rows.mT, measured.gramian)
    assert measured.gramian.shape == (2, 2)
    assert torch.equal(balance.gramian, measured.gramian)


@pytest.mark.parametrize("measure", ["parameters", "last_layer"])
@pytest.mark.parametrize("how", ["loss", "gradient"])
def test_a_task_that_is_no_number_is_left_out_of_weights_and_of_the_sum(measure, how):
    net, balancer = Net(), Lengths(TASKS, measure=measure)
    shared, losses = net.losses()
    losses["b"] = losses["b"] * float("nan") if how == "loss" else losses["b"] + (0 * losses["b"]).sqrt()
    balance = balancer.backward(losses, junction=shared)
    assert balancer.seen[2] == ("a", "c")
    assert balancer.seen[0].gramian.shape == (2, 2)
    assert balancer.seen[0].gramian.isfinite().all()
    assert balance.weights["b"] == 0
    assert balance.losses["b"].isnan() == (how == "loss")
    found = net.take()
    assert all(gradient.isfinite().all() for name, gradient in found.items() if name.startswith("sharing"))
    wanted = by_hand(net, balance, spoiled=("b",))
    assert_same(
        {name: g for name, g in found.items() if name.startswith("sharing")},
        {n: g for n, g in wanted.items() if n.startswith("sharing")},
    )


def test_no_task_is_left_where_all_are_no_numbers():
    net, balancer = Net(), Lengths(TASKS)
    shared, losses = net.losses()
    balance = balancer.backward({name: loss * float("inf") for name, loss in losses.items()}, junction=shared)
    assert all(weight == 0 for weight in balance.weights.values())
    assert not any(gradient.any() for name, gradient in net.take().items() if name.startswith("sharing"))


def test_between_measurements_the_last_weights_of_each_task_are_used():
    net, balancer = Net(), Lengths(TASKS, measure="parameters", every=2)
    seen = []
    for names, broken in ((("a", "b"), None), (TASKS, None), (("c", "b"), None), (TASKS, "b")):
        shared, losses = net.losses(names)
        if broken is not None:
            losses[broken] = losses[broken] * float("nan")
        seen.append(balancer.backward(losses, junction=shared))
        found = {name: g for name, g in net.take().items() if name.startswith("sharing")}
        wanted = by_hand(net, seen[-1], names, spoiled=() if broken is None else (broken,))
        assert_same(found, {name: g for name, g in wanted.items() if name in found})
    first, between, second, last = seen
    assert [balance.gramian is None for balance in seen] == [False, True, False, True]
    assert between.weights["a"] == first.weights["a"].float()
    assert between.weights["c"] == 1.0  # never measured: as in the plain sum
    assert last.weights["a"] == between.weights["a"]
    assert last.weights["c"] == second.weights["c"].float()
    assert last.weights["b"] == 0
    assert balancer.last.at(("b",)) == second.weights["b"].float()


def test_two_micro_batches_are_added_also_to_what_was_there():
    net, balancer = Net(), Lengths(TASKS, measure="parameters")
    parts = []
    for names in (TASKS, ("c", "a")):
        shared, losses = net.losses(names)
        balancer.backward(losses, junction=shared)
        parts.append(net.take())
    for parameter in net.parameters():
        parameter.grad = torch.ones_like(parameter)
    for names in (TASKS, ("c", "a")):
        shared, losses = net.losses(names)
        balancer.backward(losses, junction=shared)
    one, other = parts
    wanted = {name: 1 + one[name] + (0 if other[name] is None else other[name]) for name in one}
    assert_same(net.take(), wanted)


def test_gradients_measured_in_full_are_not_computed_again():
    net, balancer = Net(), Lengths(TASKS, measure="parameters")
    passes = []
    layer = next(net.sharing.parameters())
    layer.register_hook(lambda gradient: passes.append(1))
    shared, losses = net.losses()
    balancer.backward(losses, junction=shared)
    assert len(passes) <= len(TASKS) + 1  # one for each measured row, and one where they are written


def test_what_is_frozen_gets_nothing():
    net = Net()
    for parameter in net.sharing.parameters():
        parameter.requires_grad_(False)
    shared, losses = net.losses()
    Lengths(TASKS).backward(losses, junction=shared)
    found = net.take()
    assert all(gradient is None for name, gradient in found.items() if name.startswith("sharing"))
    assert all(gradient is not None for name, gradient in found.items() if name.startswith("heads"))


def test_nothing_of_torchs_random_state_is_used():
    net, balancer = Net(), Lengths(TASKS, measure={"name": "sketched", "rank": 1})
    shared, losses = net.losses()
    before = torch.get_rng_state()
    balancer.backward(losses, junction=shared)
    assert torch.equal(before, torch.get_rng_state())


def test_measures_are_named_given_or_made():
    given = Sketched(rank=3)
    assert Lengths(TASKS, measure=given).measure is given
    assert isinstance(Lengths(TASKS, measure="parameters").measure, AtParameters)
    assert Lengths(TASKS, measure={"name": "sketched", "rank": 5}).measure.rank == 5
    with pytest.raises(ConfigError, match=r"Unknown measure.*'sketch'.*'sketched'"):
        Lengths(TASKS, measure="sketch")
    with pytest.raises(ConfigError, match=r"at least 1.*0"):
        Lengths(TASKS, every=0)
