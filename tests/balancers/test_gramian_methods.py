"""What every method on inner products keeps to, and which methods keep what only some do."""

import sys
from functools import partial

import pytest
import torch
from solvers.gramians import jacobian
from torch.utils._python_dispatch import TorchDispatchMode
from weighing import NAMES, direction, weigh

from polytask.balancers import (
    IMTLG,
    MGDA,
    AlignedMTL,
    CAGrad,
    ConFIG,
    DualProjection,
    FairGrad,
    GradNorm,
    GradVac,
    NashMTL,
    PCGrad,
    UPGrad,
)

METHODS = {
    "mgda": MGDA,
    "mgda_l2": partial(MGDA, normalise="l2"),
    "mgda_loss": partial(MGDA, normalise="loss"),
    "mgda_loss_l2": partial(MGDA, normalise="loss_l2"),
    "pcgrad": PCGrad,
    "gradvac": GradVac,
    "cagrad": CAGrad,
    "cagrad_1": partial(CAGrad, c=1.0),
    "imtl_g": IMTLG,
    "nash_mtl": partial(NashMTL, max_norm=0.0),
    "aligned_mtl": AlignedMTL,
    "upgrad": UPGrad,
    "dual_projection": DualProjection,
    "fairgrad": FairGrad,
    "conflict_free": ConFIG,
    "gradnorm": GradNorm,
}
HARMLESS = ("mgda", "cagrad_1", "imtl_g", "nash_mtl", "upgrad", "dual_projection", "fairgrad", "conflict_free")
UNITLESS = ("mgda_l2", "mgda_loss", "imtl_g", "nash_mtl", "conflict_free")
BOUND_TO_UNITS = ("mgda", "mgda_loss_l2", "pcgrad", "cagrad", "upgrad", "dual_projection", "gradnorm")
LENGTHS = torch.tensor([1.0, 3.0, 0.2], dtype=torch.float64)
every_method = pytest.mark.parametrize("name", METHODS)


def cosine(x, y):
    return torch.nn.functional.cosine_similarity(x, y, dim=0).item()


@every_method
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_task_alone_trains_as_without_a_balancer(name, scale):
    assert weigh(METHODS[name](["a"]), scale * torch.tensor([[3.0, -4.0]]), [scale]).item() == pytest.approx(1.0)


@every_method
@pytest.mark.parametrize("factor", [1e-7, 1e7])
def test_a_scale_of_all_losses_changes_no_weight(name, factor):
    rows, losses = jacobian("conflict", 5), torch.tensor([1.0, 2.0, 0.5, 0.1, 3.0])
    wanted = weigh(METHODS[name](NAMES[:5]), rows, losses)
    torch.testing.assert_close(weigh(METHODS[name](NAMES[:5]), factor * rows, factor * losses), wanted)


@pytest.mark.parametrize("name", UNITLESS)
def test_the_unit_of_one_loss_does_not_turn_the_direction(name):
    rows, losses, unit = jacobian("conflict", 4), torch.tensor([1.0, 2.0, 0.5, 0.1]), torch.tensor([1.0, 1000.0, 1.0, 1.0])
    before, after = direction(METHODS[name], rows, losses), direction(METHODS[name], unit[:, None] * rows, unit * losses)
    assert cosine(before, after) > 1 - 1e-9


@pytest.mark.parametrize("name", BOUND_TO_UNITS)
def test_the_unit_of_one_loss_turns_the_direction_of_others(name):
    rows, losses, unit = torch.eye(4), torch.ones(4), torch.tensor([1.0, 1000.0, 1.0, 1.0])
    before, after = direction(METHODS[name], rows, losses), direction(METHODS[name], unit[:, None] * rows, unit * losses)
    assert cosine(before, after) < 0.9


@pytest.mark.parametrize("kind", ["conflict", "aligned", "lengths", "dependent"])
@pytest.mark.parametrize("name", HARMLESS)
def test_no_task_is_harmed(name, kind):
    if kind == "dependent" and name in ("imtl_g", "conflict_free"):
        pytest.skip("it holds for independent gradients")
    for tasks in (2, 3, 8):
        for seed in range(3):
            rows = jacobian(kind, tasks, seed)
            weights = weigh(METHODS[name](NAMES[:tasks]), rows)
            length = rows.norm(dim=1)
            assert (rows @ (weights @ rows) / length).min() > -1e-9 * (weights.abs() @ length), (tasks, seed)


@pytest.mark.parametrize("name", ["pcgrad", "gradvac", "cagrad", "aligned_mtl", "gradnorm", "mgda_loss"])
def test_others_do_harm_a_task_somewhere(name):
    losses = torch.logspace(0, 2, 8)
    worst = [
        (rows @ direction(METHODS[name], rows, losses)).min().item() for rows in (jacobian("conflict", 8, s) for s in range(9))
    ]
    if name == "mgda_loss":
        assert min(worst) > 0  # it harms none: the gradients are summed as they were compared
    else:
        assert min(worst) < 0


@every_method
def test_tasks_that_share_nothing_weigh_1(name):
    assert weigh(METHODS[name](NAMES[:3]), torch.zeros(3, 5)).tolist() == pytest.approx([1.0] * 3)


@every_method
def test_identical_gradients_have_their_sum(name):
    gradient = torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64)
    torch.testing.assert_close(direction(METHODS[name], gradient.expand(3, 3), torch.ones(3)), 3 * gradient)


@every_method
def test_orthogonal_gradients_of_one_length_weigh_the_same(name):
    weights = weigh(METHODS[name](NAMES[:4]), 7 * torch.eye(4))
    root = {"nash_mtl": 4**0.25, "fairgrad": 4 ** (1 / 3)}  # of the Frobenius norm of an identity
    torch.testing.assert_close(weights, torch.full((4,), root.get(name, 1.0), dtype=torch.float64))


@every_method
def test_opposite_gradients_cancel(name):
    rows = torch.tensor([[3.0, 4.0], [-3.0, -4.0]], dtype=torch.float64)
    weights = weigh(METHODS[name](NAMES[:2]), rows)
    assert weights.isfinite().all()
    assert (weights @ rows).norm() <= 1e-7 * (1 + weights.abs().max())


@every_method
def test_a_gradient_of_zero_leaves_the_others(name):
    rows = torch.cat([torch.diag(LENGTHS), torch.zeros(1, 3)])
    found = direction(METHODS[name], rows)
    if name.startswith("mgda"):  # the shortest vector of the hull
        assert not found.any()
    else:
        assert found.min() > 0


@every_method
@pytest.mark.parametrize("factor", [1000.0, 0.001])
def test_a_loss_1000_times_as_large_or_small(name, factor):
    rows = torch.tensor([[1.0, 0.3, 0.0], [-0.2, 1.0, 0.1], [0.1, -0.4, 1.0]], dtype=torch.float64)
    rows[1] *= factor
    found = direction(METHODS[name], rows, [1.0, factor, 1.0])
    assert found.isfinite().all()
    gains = rows @ found
    if factor > 1 or name in HARMLESS:
        assert gains[1] > -1e-12
    if name in HARMLESS and name != "dual_projection":  # whose gains may be 0
        assert gains.min() > 0


class Net(torch.nn.Module):
    """A trunk, three heads, and losses whose gradients differ in length and disagree."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.trunk = torch.nn.Linear(6, 5)
        self.heads = torch.nn.ModuleDict({name: torch.nn.Linear(5, 1) for name in "abc"})
        self.double()
        self.x, self.y = torch.randn(9, 6).double(), torch.randn(3, 9, 1).double()

    def losses(self, names="abc", move=0.0):
        z = torch.tanh(self.trunk(self.x + move))
        return {n: LENGTHS["abc".index(n)] * (self.heads[n](z) - self.y["abc".index(n)]).square().mean() for n in names}

    def rows(self, **kwargs):
        gradients = [torch.autograd.grad(loss, list(self.trunk.parameters())) for loss in self.each(**kwargs)]
        return torch.stack([torch.cat([part.flatten() for part in row]) for row in gradients])

    def each(self, **kwargs):
        return [self.losses(name, **kwargs)[name] for name in "abc"]

    def taken(self):
        found = torch.cat([parameter.grad.flatten() for parameter in self.trunk.parameters()])
        self.zero_grad()
        return found


@every_method
def test_a_model_gets_the_weighted_gradient_and_heads_their_own(name):
    net, balancer = Net(), METHODS[name](tuple("abc"), measure="parameters")
    rows, own = net.rows(), {n: torch.autograd.grad(net.losses(n)[n], net.heads[n].weight)[0] for n in "abc"}
    balance = balancer.backward(net.losses())
    for n in "abc":
        torch.testing.assert_close(net.heads[n].weight.grad, own[n])
    torch.testing.assert_close(balance.gramian, rows @ rows.T)
    torch.testing.assert_close(net.taken(), torch.stack(list(balance.weights.values())) @ rows)
    wanted = direction(partial(METHODS[name], measure="parameters"), rows, torch.stack(net.each()).detach())
    if name not in ("pcgrad", "gradvac"):  # whose orders are those of another step
        torch.testing.assert_close(torch.stack(list(balance.weights.values())) @ rows, wanted)


@every_method
def test_weights_are_used_again_between_measurements(name):
    net, balancer = Net(), METHODS[name](tuple("abc"), measure="parameters", every=3)
    first, second, third = (balancer.backward(net.losses(move=0.3 * step)) for step in range(3))
    assert first.gramian is not None
    assert second.gramian is None
    assert third.gramian is None
    assert {n: w.item() for n, w in third.weights.items()} == pytest.approx({n: w.item() for n, w in first.weights.items()})
    net.zero_grad()
    rows = net.rows(move=2.0)
    assert balancer.backward(net.losses(move=2.0)).gramian is not None
    assert cosine(net.taken(), rows.sum(0)) < 1 - 1e-9 or name == "gradnorm"


@every_method
def test_a_loss_that_is_no_number_is_as_absent(name):
    with_it, without = METHODS[name](tuple("abc")), METHODS[name](tuple("abc"))
    net = Net()
    losses = net.losses()
    losses["b"] = losses["b"] * float("nan")
    found = with_it.backward(losses).weights
    assert net.taken().isfinite().all()
    wanted = without.backward(net.losses("ac")).weights
    assert found["b"] == 0
    assert {n: found[n].item() for n in "ac"} == pytest.approx({n: w.item() for n, w in wanted.items()})


@every_method
def test_a_run_goes_on_where_it_stopped_with_tasks_in_another_order(name):
    net, balancer, restored = Net(), METHODS[name](tuple("abc")), METHODS[name](tuple("cab"))
    for step in range(3):
        balancer.backward(net.losses("abc" if step != 1 else "ca", move=0.5 * step))
    restored.load_state_dict(balancer.state_dict())
    for step in range(3):
        wanted = balancer.backward(net.losses(move=0.2 * step)).weights
        found = restored.backward(net.losses("bca", move=0.2 * step)).weights
        assert {n: w.item() for n, w in found.items()} == pytest.approx({n: w.item() for n, w in wanted.items()}, rel=1e-5)


class NoWaiting(TorchDispatchMode):
    """Refuses to copy a number to the host, as a device would have to be waited for."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert function not in {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default}, function
        return function(*args, **(kwargs or {}))


@every_method
def test_nothing_waits_for_a_device_whose_weights_are_the_same(name, monkeypatch):
    rows, losses = jacobian("conflict", 5), torch.tensor([1.0, 2.0, 0.5, 0.1, 3.0])
    wanted = weigh(METHODS[name](NAMES[:5]), rows, losses)
    for module in [module for place, module in sys.modules.items() if place.startswith("polytask.balancers.solvers")]:
        if hasattr(module, "may_wait"):  # what is looked at on the CPU alone
            monkeypatch.setattr(module, "may_wait", lambda _: False)
    balancer = METHODS[name](NAMES[:5])
    with NoWaiting():
        found = weigh(balancer, rows, losses)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-6)


MATRIX = [[-4.0, 1.0, 1.0, 0.5], [6.0, 1.0, 1.0, -2.0], [1.0, 2.0, -1.5, 0.3]]
TORCHJD = {  # ours over theirs, for k = 3
    "cagrad": ("CAGrad", {"c": 0.4}, 3.0 / 1.4),
    "imtl_g": ("IMTLG", {}, 3.0),
    "aligned_mtl": ("AlignedMTL", {}, 3.0),
    "upgrad": ("UPGrad", {}, 3.0),
    "dual_projection": ("DualProj", {}, 3.0),
    "fairgrad": ("FairGrad", {"alpha": 2.0}, None),
    "nash_mtl": ("NashMTL", {"n_tasks": 3, "max_norm": 0.0}, None),
    "conflict_free": ("ConFIG", {}, 1.0),
}


@pytest.mark.parametrize("name", TORCHJD)
def test_is_torchjd_up_to_a_factor(name):
    aggregation = pytest.importorskip("torchjd.aggregation", reason="TorchJD is not installed")
    other, options, factor = TORCHJD[name]
    rows = torch.tensor(MATRIX, dtype=torch.float64)
    try:
        theirs = getattr(aggregation, other)(**options)(rows)
    except ImportError as error:
        pytest.skip(f"TorchJD's {other} needs a solver that is not installed: {error}")
    ours = direction(METHODS[name], rows)
    factor = ours.norm() / theirs.norm() if factor is None else factor
    torch.testing.assert_close(ours, factor * theirs, rtol=1e-4, atol=1e-4 * ours.norm().item())
