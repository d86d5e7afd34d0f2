"""RotoGrad: rotations, the official objective and lengths, a loop of one's own, what refuses it."""

import pytest
import torch

from polytask.balancers import RotoGrad
from polytask.config import read_config
from polytask.errors import ConfigError, PolytaskError
from polytask.run._build import build_balancer
from polytask.sharing import MMoE, Shared, SharedBottom

THREE = ("buy", "click", "like")
SCALES = {"buy": 1.0, "click": 20.0, "like": 0.1}


class Net(torch.nn.Module):
    """A trunk of width 5 and a linear head a task."""

    def __init__(self, tasks=THREE, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.tasks = tasks
        self.sharing = SharedBottom(4, tasks, hidden=(8, 5))
        heads = {name: torch.nn.Linear(5, 1) for name in THREE}
        self.heads = torch.nn.ModuleDict({f"{name}_head": heads[name] for name in tasks})
        self.double()
        self.x, self.y = torch.randn(16, 4, dtype=torch.float64), torch.randn(3, 16, 1, dtype=torch.float64)

    def outputs(self, shared):
        return {name: self.heads[f"{name}_head"](z) for name, z in zip(self.tasks, shared.outputs, strict=True)}

    def losses(self, shared, names=None):
        outputs = self.outputs(shared)
        return {name: SCALES[name] * (outputs[name] - self.y[THREE.index(name)]).square().mean() for name in names or self.tasks}


def step(balancer, net, names=None, *, broken=None):
    net.zero_grad()
    balancer.zero_grad()
    shared = balancer.rotate(net.sharing(net.x))
    losses = net.losses(shared, names)
    if broken:
        losses[broken] = losses[broken] * float("nan")
    return balancer.backward(losses, junction=shared)


def turned(tasks=THREE, **options):
    """A balancer whose rotations are no identities."""
    balancer = RotoGrad(tasks, width=5, **options).double()
    with torch.no_grad():
        for number, name in enumerate(sorted(tasks)):
            balancer.generators[f"task_{name}"].copy_(
                0.5 * torch.randn(5, 5, generator=torch.Generator().manual_seed(number), dtype=torch.float64)
            )
    return balancer


def own_gradients(balancer, net):
    """Of each loss at the shared representation."""
    z = net.sharing(net.x).outputs[0].detach().requires_grad_()
    shared = balancer.rotate(Shared(z.expand(len(net.tasks), *z.shape), (z,)))
    return torch.stack([torch.autograd.grad(loss, z, retain_graph=True)[0] for loss in net.losses(shared).values()])


def test_rotations_are_rotations_and_begin_with_none():
    for name in THREE:
        assert torch.equal(RotoGrad(THREE, width=3).rotation(name), torch.eye(3))
        r = turned().rotation(name)
        torch.testing.assert_close(r @ r.T, torch.eye(5, dtype=torch.float64))
        assert torch.linalg.det(r).item() == pytest.approx(1.0)
        assert (r - torch.eye(5)).abs().max() > 0.1


def test_each_task_reads_its_own_rotation_of_the_first_features():
    z = torch.randn(7, 5, dtype=torch.float64)
    balancer = RotoGrad(THREE, width=2).double()
    with torch.no_grad():
        balancer.generators["task_click"].copy_(torch.tensor([[0.0, -0.5], [0.0, 0.0]]))
    outputs = balancer.rotate(Shared(z.expand(3, 7, 5), (z,))).outputs
    assert torch.equal(outputs[0], z)
    torch.testing.assert_close(outputs[1][:, :2], z[:, :2] @ balancer.rotation("click").T)
    assert torch.equal(outputs[1][:, 2:], z[:, 2:])
    # Cayley of a = -1/2: the rotation by 2 atan(1/2), cosine 3/5 and sine 4/5
    torch.testing.assert_close(balancer.rotation("click").abs(), torch.tensor([[0.6, 0.8], [0.8, 0.6]]).double())


def test_rotations_follow_the_official_objective():
    """`mean_n |R_k v_n - g~_kn|²`, v the mean of the gradients scaled to the length of their mean; g~ and v are constants."""
    net, balancer = Net(), turned()
    g = own_gradients(balancer, net)
    length = g.mean(0).norm()
    v = torch.stack([part * length / part.norm() for part in g]).mean(0)
    step(balancer, net)
    for number, name in enumerate(THREE):
        generator = balancer.generators[f"task_{name}"]
        r = balancer.rotation(name)
        (wanted,) = torch.autograd.grad((v @ r.T - g[number] @ r.detach().T).square().sum(1).mean(), generator)
        torch.testing.assert_close(generator.grad, wanted)
        assert wanted.norm() > 0


def test_gradients_have_one_length_that_follows_who_lags_behind():
    net, balancer = Net(), turned(burn_in=0)
    first = own_gradients(balancer, net).flatten(1).norm(dim=1)
    balance = step(balancer, net)
    decided = torch.stack(list(balance.weights.values()))
    torch.testing.assert_close(decided * first, first.mean().expand(3))  # at the start all have learned alike
    with torch.no_grad():
        net.heads["click_head"].weight.mul_(0.3)
    g = own_gradients(balancer, net).flatten(1).norm(dim=1)
    ratios = g / first
    decided = torch.stack(list(step(balancer, net).weights.values()))
    torch.testing.assert_close(decided * g, ((ratios * g).sum() / ratios.sum()).expand(3))


def test_what_is_shared_gets_the_weighted_gradients_and_heads_their_own():
    net, balancer = Net(), turned()
    weights = step(balancer, net).weights
    found = {name: parameter.grad for name, parameter in net.named_parameters()}
    net.zero_grad()
    losses = net.losses(balancer.rotate(net.sharing(net.x)))
    sum(weights[name] * loss for name, loss in losses.items()).backward()
    for name, parameter in net.named_parameters():
        scale = weights[name.split(".")[1].removesuffix("_head")] if name.startswith("heads") else 1.0
        torch.testing.assert_close(found[name], parameter.grad / scale)


def cosines(g):
    unit = torch.nn.functional.normalize(g.flatten(1), dim=1)
    return (unit @ unit.T)[0, 1].item()


def test_trained_rotations_bring_opposed_gradients_to_agree():
    """Two heads that want opposite things of the representation: with a rotation each they want the same."""
    net = Net(("buy", "click"))
    with torch.no_grad():
        net.heads["click_head"].weight.copy_(-net.heads["buy_head"].weight)
        net.y[1] = net.y[0]
        net.heads["click_head"].bias.copy_(net.heads["buy_head"].bias)
    balancer = RotoGrad(("buy", "click"), width=5).double()
    with torch.no_grad():  # exactly opposite is a place of rest
        balancer.generators["task_buy"].add_(0.01 * torch.randn(5, 5, dtype=torch.float64))
    before = cosines(own_gradients(balancer, net))
    optimizer = torch.optim.Adam(balancer.parameters(), lr=0.03)
    for _ in range(150):
        step(balancer, net)
        optimizer.step()
    assert before < 0
    assert cosines(own_gradients(balancer, net)) > 0.7


def test_a_task_alone_trains_as_without_a_balancer():
    net, balancer = Net(("buy",)), RotoGrad(["buy"], width=5).double()
    assert [step(balancer, net).weights["buy"].item() for _ in range(2)] == pytest.approx([1.0, 1.0])
    found = net.sharing.get_parameter(next(iter(dict(net.sharing.named_parameters())))).grad
    net.zero_grad()
    net.losses(net.sharing(net.x))["buy"].backward()
    torch.testing.assert_close(found, next(net.sharing.parameters()).grad)


def test_a_missing_and_a_lost_task_leave_their_rotation_and_their_start():
    for broken in (None, "click"):
        net, balancer = Net(), turned(burn_in=1)
        step(balancer, net)
        before = {key: value.clone() for key, value in balancer.state_dict().items() if "click" in key}
        balance = step(balancer, net, None if broken else ("buy", "like"), broken=broken)
        assert all(torch.equal(balancer.state_dict()[key], value) for key, value in before.items())
        grown = balancer.generators["task_click"].grad
        assert grown is None or not grown.any()
        assert all(parameter.grad.isfinite().all() for parameter in net.sharing.parameters())
        assert balance.weights["buy"] > 0
        assert balance.weights.get("click", 0) == 0


def test_the_order_of_tasks_does_not_matter_and_state_goes_by_name():
    order = ("like", "buy", "click")
    one, net = turned(), Net()
    other, permuted = RotoGrad(order, width=5).double(), Net(order)
    permuted.load_state_dict(net.state_dict())
    step(one, net)
    other.load_state_dict(one.state_dict())
    wanted, found = step(one, net).weights, step(other, permuted).weights
    for name in THREE:
        torch.testing.assert_close(found[name], wanted[name])
        torch.testing.assert_close(other.generators[f"task_{name}"].grad, one.generators[f"task_{name}"].grad)
    for a, b in zip(net.sharing.parameters(), permuted.sharing.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)


def test_serving_is_the_same_call():
    net, balancer = Net(), turned()
    with torch.no_grad():
        served = net.outputs(balancer.rotate(net.sharing(net.x)))
        plain = net.outputs(net.sharing(net.x))
    trained = net.outputs(balancer.rotate(net.sharing(net.x)))
    assert all(torch.equal(served[name], trained[name]) for name in THREE)
    assert (served["buy"] - plain["buy"]).abs().max() > 0.1


def test_without_the_rotation_in_the_forward_pass_it_is_refused():
    net, balancer = Net(), turned()
    shared = net.sharing(net.x)
    for junction in (shared, ()):
        with pytest.raises(PolytaskError, match=r"what `rotate` gave.*balancer\.rotate\(sharing\(x\)\)"):
            balancer.backward(net.losses(shared), junction=junction)
    old = balancer.rotate(shared)
    balancer.rotate(shared)
    with pytest.raises(PolytaskError, match="what `rotate` gave"):
        balancer.backward(net.losses(old), junction=old)


def test_representations_of_their_own_and_narrow_ones_are_refused():
    with pytest.raises(PolytaskError, match=r"one representation.*SharedBottom"):
        RotoGrad(THREE, width=2).rotate(MMoE(4, THREE, num_experts=2, hidden=(3,))(torch.randn(6, 4)))
    with pytest.raises(PolytaskError, match=r"9 features or more"):
        RotoGrad(THREE, width=9).rotate(SharedBottom(4, THREE, hidden=(5,))(torch.randn(6, 4)))
    for options in ({"width": 0}, {"width": 3, "burn_in": -1}):
        with pytest.raises(ConfigError):
            RotoGrad(THREE, **options)


def test_a_declared_run_refuses_it_with_a_way_out(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(
        '[data]\ntrain = "train.csv"\n[[task]]\nkind = "binary"\nname = "click"\n[balancer]\nname = "rotograd"\nwidth = 4\n'
    )
    with pytest.raises(ConfigError, match=r"without its balancer.*'rotograd'.*loop of your own"):
        build_balancer(read_config(path), ["click"])
