"""What every balancer that keeps gradients keeps to: which measures, whose memory, no wait, an exact resume, no unit."""

import pytest
import torch
from featured import NAMES, Noisy, step
from torch.utils._python_dispatch import TorchDispatchMode

from polytask import checkpoint
from polytask.balancers import DBMTL, ExcessMTL, MoCo, MoDo, SDMGrad
from polytask.balancers._memory import Memory, MovingAverages
from polytask.balancers._remembering import RememberingBalancer
from polytask.balancers._shares import on_simplex
from polytask.errors import ConfigError, PolytaskError

METHODS = {"db_mtl": DBMTL, "moco": MoCo, "modo": MoDo, "sdmgrad": SDMGrad, "excess_mtl": ExcessMTL}
SIMPLEX = ("moco", "modo", "sdmgrad", "excess_mtl")
every_method = pytest.mark.parametrize("name", METHODS)
THREE = NAMES[:3]


def run(balancer, steps, *, seed=0):
    """Steps with a task missing in each third; the weights of each."""
    noisy, decided = Noisy(seed), []
    for number in range(steps):
        names = THREE if number % 3 else (THREE[number % 2], "c")
        decided.append(step(balancer, noisy.draw()[[THREE.index(name) for name in names]], names=names))
    return decided


def state_of(balancer, task):
    return {key: value.clone() for key, value in balancer.state_dict().items() if f"task_{task}" in key}


def test_all_methods_with_a_memory_are_here():
    assert set(METHODS.values()) == set(_concrete(RememberingBalancer))


def _concrete(kind):
    return [last for sub in kind.__subclasses__() for last in (_concrete(sub) or [sub])]


@every_method
def test_a_measure_whose_directions_change_or_that_has_none_is_refused(name):
    for measure in ("junction", "sketched", {"name": "sketched", "rank": 8}):
        with pytest.raises(ConfigError, match=r"keeps gradients of parameters.*'fixed': True"):
            METHODS[name](THREE, measure=measure)
    for measure in ("parameters", "last_layer", "sampled", {"name": "sketched", "fixed": True, "rank": 8}):
        METHODS[name](THREE, measure=measure)
    assert METHODS[name](THREE).measure.fixed


@every_method
def test_a_task_alone_of_two_shares_nothing_with_nobody(name):
    head, trunk = torch.nn.Linear(2, 1), torch.nn.Linear(3, 2)
    balance = METHODS[name](["a", "b"]).backward({"a": head(trunk(torch.ones(4, 3))).mean() + 5.0})
    assert balance.weights["a"].item() == 1.0
    assert head.bias.grad.item() == pytest.approx(1.0)


@every_method
def test_a_missing_task_keeps_its_memory(name):
    balancer = METHODS[name](THREE)
    run(balancer, 4)
    before, others = state_of(balancer, "b"), state_of(balancer, "a")
    step(balancer, Noisy(5).draw()[[0, 2]], names=("a", "c"))
    now = state_of(balancer, "b")
    assert before
    assert all(torch.equal(before[key], now[key]) for key in before)
    assert any(not torch.equal(others[key], value) for key, value in state_of(balancer, "a").items())


@every_method
def test_a_lost_task_of_which_only_the_device_knows_is_as_a_missing_one(name):
    """The mask of a device, on the CPU: weights of the others and all that is kept are those of an absence."""
    absent, masked = METHODS[name](THREE), METHODS[name](THREE)
    for balancer in (absent, masked):
        run(balancer, 4)
    rows, finite = Noisy(5).draw(), torch.tensor([True, False, True])
    for _ in range(3):
        wanted = step(absent, rows[[0, 2]], names=("a", "c"))
        found = step(masked, rows * finite[:, None], finite=finite) * finite
        torch.testing.assert_close(found[[0, 2]], wanted)
    for (key, value), other in zip(absent.state_dict().items(), masked.state_dict().values(), strict=True):
        torch.testing.assert_close(value, other, msg=lambda text, key=key: f"{key}: {text}")


@every_method
def test_a_loss_that_is_no_number_leaves_its_memory(name):
    trunk, heads = torch.nn.Linear(3, 4), torch.nn.Linear(4, 2)
    balancer = METHODS[name](["a", "b"], measure="last_layer")
    for broken in (1.0, 1.0, float("nan")):
        before, z = state_of(balancer, "b"), trunk(torch.randn(5, 3))
        losses = {"a": heads(z)[:, 0].square().mean(), "b": broken * heads(z)[:, 1].square().mean()}
        weights = balancer.backward(losses, junction=(z,)).weights
    assert weights["b"] == 0
    assert weights["a"] > 0
    assert all(torch.equal(value, before[key]) for key, value in state_of(balancer, "b").items())


@every_method
def test_resumes_bit_for_bit_in_another_order_from_a_file(name, tmp_path):
    whole, first = METHODS[name](THREE), METHODS[name](THREE)
    run(whole, 5), run(first, 5)
    checkpoint.save(tmp_path / "state", {"balancer": first.state_dict()})
    order = ("c", "a", "b")
    second = METHODS[name](order)
    second.load_state_dict(checkpoint.load(tmp_path / "state")["balancer"])
    for wanted, found in zip(run(whole, 4, seed=1), run(second, 4, seed=1), strict=True):
        torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-7)
    for key, value in whole.state_dict().items():
        torch.testing.assert_close(second.state_dict()[key], value, rtol=1e-6, atol=1e-7)


@every_method
@pytest.mark.parametrize("factor", [1e-9, 1e6])
def test_the_unit_of_all_losses_changes_no_weight(name, factor):
    """A constant added to a length or a root would count at 1e-9."""
    options = {"floor": 1e-30} if name == "db_mtl" else {}
    one, other, noisy = METHODS[name](THREE, **options), METHODS[name](THREE, **options), Noisy()
    for _ in range(6):
        rows = noisy.draw()
        wanted = step(one, rows, [0.5, 2.0, 1.0])
        found = step(other, factor * rows, [0.5 * factor, 2.0 * factor, factor])
    scale = 1 if name != "db_mtl" else 1 / factor  # gradients of logarithms have no unit, so the weights have the inverse
    torch.testing.assert_close(found, scale * wanted, rtol=1e-4, atol=1e-6 * scale)


@pytest.mark.parametrize("name", SIMPLEX)
def test_weights_sum_to_the_number_of_present_tasks(name):
    for weights in run(METHODS[name](THREE), 7):
        assert weights.sum().item() == pytest.approx(len(weights))
        assert (weights >= 0).all()


@every_method
def test_a_zero_gradient_makes_no_weight_that_is_no_number(name):
    balancer = METHODS[name](THREE)
    for rows in (torch.zeros(3, 6), torch.zeros(3, 6), torch.tensor([[1.0] * 6, [0.0] * 6, [2.0] * 6]), Noisy().draw()):
        assert step(balancer, rows).isfinite().all()


class NoWaiting(TorchDispatchMode):
    """Refuses to copy a number to the host, as a device would have to be waited for."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert function not in {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default}, function
        return function(*args, **(kwargs or {}))


@every_method
def test_nothing_waits_for_the_device(name, monkeypatch):
    monkeypatch.setattr(Memory, "_counting", lambda self, names, finite: names)  # what is looked at on the CPU alone
    balancer, rows = METHODS[name](THREE), torch.randn(3, 6, dtype=torch.float64)
    for names in (THREE, ("a", "c"), THREE):
        part = rows[[THREE.index(task) for task in names]]
        with NoWaiting():
            step(balancer, part, names=names)
            step(balancer, part, names=names, finite=torch.ones(len(names), dtype=torch.bool))


def test_a_layer_reached_later_is_appended_and_one_not_reached_is_zero():
    memory = Memory(["a", "b"])
    memory.put(("a",), memory.joined([torch.ones(1, 2)], (5,)), torch.tensor([True]))
    today = memory.joined([torch.full((2, 3), 7.0), torch.full((2, 2), 4.0)], (2, 5))
    assert today.tolist() == [[4, 4, 7, 7, 7]] * 2
    assert memory.at(("b", "a")).tolist() == [[0] * 5, [1, 1, 0, 0, 0]]
    assert memory.joined([torch.full((2, 3), 7.0)], (2,)).tolist() == [[0, 0, 7, 7, 7]] * 2
    assert [block.tolist() for block in memory.split(today, (2, 5))] == [[[7] * 3] * 2, [[4] * 2] * 2]


def test_a_layer_of_another_size_is_named():
    memory = Memory(["a", "b"])
    memory.joined([torch.ones(2, 2)], (5,))
    with pytest.raises(PolytaskError, match=r"size of earlier steps, 2.*Received: 3.*Sparse"):
        memory.joined([torch.ones(2, 3)], (5,))


def test_averages_do_not_remember_that_they_began_at_zero():
    averages, both = MovingAverages(["a", "b"]), torch.tensor([True, True])
    rate = torch.tensor([0.25, 0.25])
    for number in range(1, 4):
        today = averages.memory.joined([torch.tensor([[1.0 * number], [10.0]])], (0,))
        found = averages.follow(("a", "b"), today, rate, both)
    # (0.25 (0.75² 1 + 0.75 2 + 3)) / (1 - 0.75³)
    assert found.tolist() == [[pytest.approx(0.25 * (0.5625 + 1.5 + 3) / (1 - 0.421875))], [pytest.approx(10.0)]]


def test_the_projection_is_the_nearest_point_of_the_simplex():
    generator = torch.Generator().manual_seed(0)
    among = torch.tensor([True, True, False, True, True])
    for _ in range(50):
        x = 2 * torch.randn(5, generator=generator, dtype=torch.float64)
        found = on_simplex(x, among)
        assert found[2] == 0
        assert found.sum().item() == pytest.approx(1.0)
        assert (found >= 0).all()
        slack = (x - found)[among]  # at the nearest point: equal where the share is positive, no more elsewhere
        assert (slack.max() - slack[found[among] > 0]).abs().max() < 1e-9
