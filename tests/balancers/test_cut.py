"""Cuts: gradients of tasks at the junction, and one backward pass, equal to what autograd gives for the weighted losses."""

import pytest
import torch

from polytask.balancers._coordinates import CoordinateBalancer
from polytask.balancers._cut import CutByLosses, CutByOutputs, cut
from polytask.balancers._gradient import GramianBalancer
from polytask.errors import PolytaskError
from polytask.heads import Heads
from polytask.sharing import SHARINGS, MMoE, PerTask, SharedBottom, private_parameters
from polytask.tasks import Regression

TASKS = ("a", "b", "c")
WEIGHTS = {"a": 1.0, "b": 2.0, "c": -0.5}


class Net(torch.nn.Module):
    """Encoders, a sharing and heads in float64, and three losses of different scales."""

    def __init__(self, sharing, **options):
        super().__init__()
        torch.manual_seed(0)
        self.sharing = SHARINGS[sharing](7, TASKS, **options)
        self.heads = Heads(self.sharing.out_features, [Regression(name) for name in TASKS], hidden=(6,))
        encoders = [torch.nn.Linear(5, 7) for _ in range(self.sharing.num_inputs)]
        own = zip(TASKS, encoders, strict=False) if len(encoders) > 1 else ()
        self.own_encoders = PerTask(dict(own), private=self.sharing.private_inputs)
        self.encoders = torch.nn.ModuleList(encoders)
        self.double()
        self.x = torch.randn(20, 5, dtype=torch.float64)
        self.y = torch.randn(3, 20, dtype=torch.float64)

    def losses(self, names=TASKS, *, apart=True):
        torch.manual_seed(1)  # what a sharing draws, it draws again
        inputs = [torch.tanh(encoder(self.x)) for encoder in self.encoders]
        shared = self.sharing(inputs[0] if len(inputs) == 1 else torch.stack(inputs))
        outputs = self.heads(shared.outputs, apart=apart)
        return shared, {
            name: (1 + i) * (outputs[name][:, 0] - self.y[i]).square().mean() for i, name in enumerate(TASKS) if name in names
        }

    def take(self):
        found = {name: parameter.grad for name, parameter in self.named_parameters()}
        self.zero_grad()
        return found


def expected(net, names=TASKS):
    """Gradients of the weighted losses, for what is private of the plain ones."""
    _, losses = net.losses(names)
    sum(losses.values()).backward()
    plain = net.take()
    _, losses = net.losses(names)
    sum(WEIGHTS[name] * loss for name, loss in losses.items()).backward()
    weighted = net.take()
    private = {id(p) for name in TASKS for p in private_parameters(net, name)}
    return {name: plain[name] if id(p) in private else weighted[name] for name, p in net.named_parameters()}


def weights_of(parts):
    return torch.tensor([WEIGHTS[name] for name in parts.names], dtype=torch.float64)


def assert_same(found, wanted):
    for name, gradient in wanted.items():
        other = found[name]
        if gradient is None or other is None:
            assert all(g is None or not g.any() for g in (gradient, other)), name
        else:
            torch.testing.assert_close(other, gradient, rtol=1e-9, atol=1e-11, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize(
    "sharing", [name for name in SHARINGS if name != "task_tokens"]
)  # whose own tokens lie below its junction
@pytest.mark.parametrize("names", [TASKS, ("a", "c")])
def test_weighted_gradients_go_to_what_is_shared_and_plain_ones_to_what_is_private(sharing, names):
    net = Net(sharing)
    wanted = expected(net, names)
    shared, losses = net.losses(names)
    parts = cut(losses, shared, (), TASKS)
    parts.send(parts.weighted(weights_of(parts)), None)
    assert_same(net.take(), wanted)


class Given(GramianBalancer):
    """The weights, whatever is measured."""

    def weigh(self, measured, losses, names):
        return torch.tensor([WEIGHTS[name] for name in names], dtype=torch.float64)


class GivenRows(CoordinateBalancer):
    """The weights, by way of the tasks' rows."""

    def combine(self, rows, finite, names):
        weights = torch.tensor([WEIGHTS[name] for name in names], dtype=torch.float64)
        return {place: torch.tensordot(weights, block, 1) for place, block in rows.items()}, weights


@pytest.mark.parametrize("sharing", [name for name in SHARINGS if name != "task_tokens"])
@pytest.mark.parametrize("kind", [Given, GivenRows])
@pytest.mark.parametrize("measure", ["junction", "parameters"])
def test_where_gradients_are_measured_does_not_change_what_weights_do(sharing, kind, measure):
    net = Net(sharing)
    wanted = expected(net)
    shared, losses = net.losses()
    kind(TASKS, measure=measure).backward(losses, junction=shared)
    assert_same(net.take(), wanted)


@pytest.mark.parametrize("apart", [True, False])
def test_rows_of_outputs_are_read_where_heads_keep_tasks_apart(apart):
    net = Net("shared_bottom")
    wanted = expected(net)
    shared, losses = net.losses(apart=apart)
    parts = cut(losses, shared, (), TASKS)
    assert isinstance(parts, CutByLosses)
    assert (parts._entries[0] == parts.edges) is not apart
    parts.send(parts.weighted(weights_of(parts)), None)
    assert_same(net.take(), wanted)


@pytest.mark.parametrize("sharing", ["shared_bottom", "mmoe", "cgc", "dselect_k", "ple", "stem"])
def test_the_gramian_at_the_junction_is_that_of_the_gradients_there(sharing):
    net = Net(sharing)
    shared, losses = net.losses()
    places = [place for place in shared.junction if place.requires_grad]
    if shared.mixtures:
        places = places[: len(shared.mixtures)]  # mixtures factorise at the experts
    rows = [
        torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for p, g in zip(places, grads, strict=True)])
        for grads in (torch.autograd.grad(loss, places, retain_graph=True, allow_unused=True) for loss in losses.values())
    ]
    wanted = torch.stack(rows) @ torch.stack(rows).T
    found = cut(losses, shared, (), TASKS).gramian()
    torch.testing.assert_close(found, wanted, rtol=1e-5 if shared.mixtures else 1e-9, atol=1e-9)


class Own(torch.nn.Module):
    """A model that knows nothing of this library."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.trunk = torch.nn.Sequential(torch.nn.Linear(5, 8), torch.nn.Tanh(), torch.nn.Linear(8, 4), torch.nn.ReLU())
        self.heads = torch.nn.ModuleDict({name: torch.nn.Linear(4, 1) for name in TASKS})
        self.double()
        self.x, self.y = torch.randn(9, 5, dtype=torch.float64), torch.randn(3, 9, 1, dtype=torch.float64)

    def losses(self, names=TASKS):
        z = self.trunk(self.x)
        return z, {
            name: (1 + i) * (self.heads[name](z) - self.y[i]).square().mean() for i, name in enumerate(TASKS) if name in names
        }


def plain_and_weighted(net, losses_of):
    losses = losses_of()
    sum(WEIGHTS[name] * loss for name, loss in losses.items()).backward()
    wanted = {n: None if p.grad is None else p.grad / WEIGHTS.get(n.split(".")[1], 1.0) for n, p in net.named_parameters()}
    net.zero_grad()
    return wanted


@pytest.mark.parametrize("how", ["graph", "junction", "shared"])
def test_the_place_where_tasks_part_is_read_off_the_graph(how):
    net = Own()
    wanted = plain_and_weighted(net, lambda: net.losses()[1])
    z, losses = net.losses()
    parts = cut(losses, (z,) if how == "junction" else (), list(net.trunk.parameters()) if how == "shared" else (), TASKS)
    assert len(parts.edges) == (4 if how == "shared" else 1)
    parts.send(parts.weighted(weights_of(parts)), None)
    assert_same({name: parameter.grad for name, parameter in net.named_parameters()}, wanted)


def test_rows_of_their_own_give_exact_gradients_of_parameters():
    net = Own()

    def losses_of():
        batches = {name: net.x[3 * i : 3 * i + 2 + i] for i, name in enumerate(TASKS)}
        return {name: net.heads[name](net.trunk(x)).square().mean() for name, x in batches.items()}

    wanted = plain_and_weighted(net, losses_of)
    rows = torch.stack(
        [
            torch.cat([g.flatten() for g in torch.autograd.grad(loss, list(net.trunk.parameters()))])
            for loss in losses_of().values()
        ]
    )
    parts = cut(losses_of(), (), (), TASKS)
    assert len(parts.edges) == len(list(net.trunk.parameters()))
    torch.testing.assert_close(parts.gramian(), rows @ rows.T)
    parts.send(parts.weighted(weights_of(parts)), None)
    assert_same({name: parameter.grad for name, parameter in net.named_parameters()}, wanted)


def test_a_parameter_used_on_both_sides_gets_both_parts():
    torch.manual_seed(0)
    tied, head = torch.nn.Linear(4, 4).double(), torch.nn.Linear(4, 1).double()
    x = torch.randn(6, 4, dtype=torch.float64)

    def losses():
        z = torch.tanh(tied(x))
        return z, {"a": tied(z).square().mean(), "b": 3 * head(z).square().mean()}

    z, found = losses()
    above = torch.autograd.grad(tied(z.detach()).square().mean(), tied.weight)[0]  # private to task a: unweighted
    below = [torch.autograd.grad(loss, z, retain_graph=True)[0] for loss in found.values()]
    wanted = above + torch.autograd.grad(z, tied.weight, 1.0 * below[0] + 2.0 * below[1])[0]
    z, found = losses()
    parts = cut(found, (z,), (), ("a", "b"))
    parts.send(parts.weighted(weights_of(parts)), None)
    torch.testing.assert_close(tied.weight.grad, wanted)


def test_places_that_feed_each_other_are_no_cut():
    lower, upper = torch.nn.Linear(3, 5), torch.nn.Linear(5, 5)
    z = torch.relu(lower(torch.randn(6, 3)))
    top = torch.relu(upper(z))
    losses = {"a": top.square().mean(), "b": top.sin().mean(), "c": z.mean()}
    with pytest.raises(PolytaskError, match=r"feed each other.*Pass `junction=`"):
        cut(losses, (), (), TASKS)


def test_rows_taken_one_by_one_are_a_place_each():
    shared = MMoE(5, TASKS, num_experts=2, hidden=(4,))(torch.randn(6, 5))
    losses = {name: z.square().mean() for name, z in zip(TASKS, shared.outputs.unbind(0), strict=True)}
    assert len(cut(losses, (), (), TASKS).edges) == 3
    assert isinstance(cut(losses, shared, (), TASKS), CutByOutputs)


def test_hooks_of_parameters_run_once_a_step():
    net, seen = Own(), []
    for name, parameter in net.named_parameters():
        parameter.register_post_accumulate_grad_hook(lambda _, name=name: seen.append(name))
    _, losses = net.losses()
    parts = cut(losses, (), (), TASKS)
    parts.send(parts.weighted(weights_of(parts)), net.trunk[0].weight.square().sum())
    assert sorted(seen) == sorted(name for name, _ in net.named_parameters())


def test_a_penalty_is_added_whatever_the_weights():
    net = Net("shared_bottom")
    wanted = expected(net)
    shared, losses = net.losses()
    parts = cut(losses, shared, (), TASKS)
    weight = next(net.sharing.parameters())
    parts.send(parts.weighted(weights_of(parts)), 0.5 * weight.square().sum())
    name = next(name for name, _ in net.named_parameters())
    wanted[name] = wanted[name] + weight.detach()
    assert_same(net.take(), wanted)


def test_tasks_that_share_nothing_have_a_gramian_of_zeros():
    net = Net("single_task")
    shared, losses = net.losses()
    assert not cut(losses, shared, (), TASKS).gramian().any()


def test_one_task_alone_has_its_place():
    assert isinstance(SharedBottom(3, ["a"]), SharedBottom)
    net = Own()
    z, losses = net.losses(("b",))
    parts = cut(losses, (z,), (), TASKS)
    assert parts.names == ("b",)
    assert cut(losses, (), (), TASKS).edges == []
