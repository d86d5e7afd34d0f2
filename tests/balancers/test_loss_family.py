"""What every balancer of loss values keeps: no wait, no spread, an exact resume, its scale."""

import copy
import math

import pytest
import torch
from leaves import leaves
from torch.utils._python_dispatch import TorchDispatchMode

from polytask import checkpoint
from polytask.balancers import BALANCERS, LossBalancer

TASKS = ("click", "buy", "time")
OPTIONS = {
    "fixed": {"weights": {"buy": 3.0}},
    "auxiliary_decay": {"auxiliary": ["time"], "steps": 20, "floor": 0.1},
    "gain_schedule": {"weights": {"buy": 2.0}, "gains": {"click": 0.8}},
    "smooth_tchebycheff": {"warmup_epochs": 1, "mu": 0.5},
}
NAMES = sorted(name for name, method in BALANCERS.items() if issubclass(method, LossBalancer))
NOT_PLAIN = {"fixed", "gain_schedule", "logarithmic", "smooth_tchebycheff"}  # weights that were chosen, and logarithms


def make(name, tasks=TASKS):
    return BALANCERS[name](tasks, **OPTIONS.get(name, {}))


def run(balancer, steps, *, seed=0, epoch=3, values=None):
    """Some steps on losses that wander, with a missing task in each third; the weights of every step."""
    generator = torch.Generator().manual_seed(seed)
    parameters = [*balancer.parameters(), torch.nn.Parameter(torch.zeros(()))]
    optimizer = torch.optim.SGD(parameters, lr=0.05)
    decided = []
    for number in range(steps):
        now = dict(zip(TASKS, (torch.rand(3, generator=generator) + 0.1).tolist(), strict=True)) | (values or {})
        if number % 3 == 1:
            now.pop(TASKS[number % 2])
        optimizer.zero_grad()
        torch.manual_seed(number)
        decided.append(balancer.backward(leaves(**now)).weights)
        optimizer.step()
        after = {name: torch.tensor(0.9 * value) for name, value in now.items()}
        balancer.after_step(lambda after=after: after)
        if number % epoch == epoch - 1:
            balancer.after_epoch()
    return decided


def test_there_are_as_many_as_are_registered():
    assert len(NAMES) == 15


class NoWaiting(TorchDispatchMode):
    """Refuses to copy a number to the host, as a device would have to be waited for."""

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        assert function not in {torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default}, function
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_waits_for_the_device(name):
    with pytest.raises(AssertionError, match="_local_scalar_dense"), NoWaiting():
        torch.tensor(1.0).item()
    balancer = make(name)
    losses = leaves(click=1.0, buy=2.0, time=3.0)
    after = leaves(click=0.5, buy=2.0)
    with NoWaiting():
        for _ in range(2):
            balancer.backward(losses)
            balancer.after_epoch()
            balancer.backward({name: losses[name] for name in ("buy", "click")}, penalty=losses["time"] * 2)
            balancer.after_step(lambda: after)
            balancer.after_epoch()


@pytest.mark.parametrize("name", NAMES)
def test_resumes_bit_for_bit_in_another_order_from_a_file(name, tmp_path):
    """In the middle of an epoch, after steps in which a task was missing."""
    balancer = make(name)
    run(balancer, 8)
    checkpoint.save(tmp_path / "state", {"balancer": balancer.state_dict()})
    restored = make(name, ("time", "click", "buy"))
    restored.load_state_dict(checkpoint.load(tmp_path / "state")["balancer"])
    for one, other in zip(run(balancer, 7, seed=1), run(restored, 7, seed=1), strict=True):
        assert set(one) == set(other)
        assert all(torch.equal(weight, other[task]) for task, weight in one.items())
    assert all(torch.equal(value, restored.state_dict()[key]) for key, value in balancer.state_dict().items())


@pytest.mark.parametrize("name", NAMES)
def test_an_absent_task_moves_nothing_of_its_own(name):
    balancer = make(name)
    run(balancer, 4)
    before = copy.deepcopy(balancer.state_dict())
    for _ in range(3):
        balancer.backward(leaves(click=1.0, time=2.0))
        balancer.after_step(lambda: {"click": torch.tensor(0.5), "time": torch.tensor(2.0)})
    moved = [key for key, value in balancer.state_dict().items() if "buy" in key and not torch.equal(value, before[key])]
    assert not moved


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("broken", [math.nan, math.inf])
def test_a_broken_loss_reaches_no_other_task_and_no_state_that_others_read(name, broken):
    balancer = make(name)
    run(balancer, 5)
    for _ in range(2):
        balancer.zero_grad()
        losses = leaves(click=1.0, buy=broken, time=2.0)
        balancer.backward(losses)
        balancer.after_step(lambda: {"click": torch.tensor(0.5), "buy": torch.tensor(broken), "time": torch.tensor(1.0)})
        balancer.after_epoch()
        assert all(math.isfinite(losses[task].grad.item()) for task in ("click", "time"))
    learned = {key for key, _ in balancer.named_parameters() if "buy" in key}  # of its own loss alone: nobody else reads it
    assert all(value.isfinite().all() for key, value in balancer.state_dict().items() if key not in learned)
    decided = run(balancer, 3)
    assert all(math.isfinite(weight.item()) for weights in decided for weight in weights.values())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("value", [0.0, -2.0, 1e-30, 1e30])
def test_any_finite_loss_has_a_finite_weight_and_is_not_maximised(name, value):
    for weights in run(make(name), 7, values={"buy": value}):
        assert all(math.isfinite(weight.item()) and weight.item() >= 0 for weight in weights.values())


@pytest.mark.parametrize("name", sorted(set(NAMES) - NOT_PLAIN - {"auxiliary_decay"}))
def test_tasks_that_are_alike_weigh_as_in_the_sum(name):
    """The convention of the family. Random weights keep it on average: their sum is the number of tasks."""
    weights = make(name).backward(leaves(click=0.7, buy=0.7, time=0.7)).weights
    assert sum(weight.item() for weight in weights.values()) == pytest.approx(3.0)
    if name != "random":
        assert [weight.item() for weight in weights.values()] == pytest.approx([1.0] * 3)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_losses_of_another_type_keep_theirs(name, dtype):
    losses = {
        task: torch.tensor(value, dtype=dtype, requires_grad=True) for task, value in zip(TASKS, (1.0, 2.0, 0.5), strict=True)
    }
    torch.manual_seed(0)
    found = make(name).backward(losses)
    torch.manual_seed(0)
    expected = make(name).backward(leaves(click=1.0, buy=2.0, time=0.5))
    for task in TASKS:
        assert losses[task].grad.dtype == dtype
        assert found.weights[task].item() == pytest.approx(expected.weights[task].item(), rel=1e-5)


class Counting(TorchDispatchMode):
    """Counts operations; on a device each is a launch."""

    def __init__(self):
        super().__init__()
        self.count = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        self.count += 1
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", sorted(set(NAMES) - {"fixed", "auxiliary_decay"}))
def test_operations_do_not_grow_with_the_tasks(name):
    """A leaf's own gradient is one a task (two where a parameter is learned: what its loss and its scalar get)."""
    counts = []
    for num in (2, 32):
        balancer = BALANCERS[name]([f"t{number}" for number in range(num)])
        losses = leaves(**{f"t{number}": 1.0 + number for number in range(num)})
        with Counting() as counting:
            balancer.backward(losses)
        counts.append(counting.count)
    learned = any(True for _ in balancer.parameters())
    assert counts[1] - counts[0] <= 30 * (3 if learned else 1) + 2
    assert counts[0] < 75
