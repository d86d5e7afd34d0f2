"""The contract of the balancers' family."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from polytask.balancers import Balance, Balancer

Make = Callable[[Sequence[str]], Balancer]
_TASKS = ("click", "buy", "time")
_SCALES = {"click": 1.0, "buy": 30.0, "time": 0.01}  # losses of one scale would hide a weight on the wrong task
_CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-6}


def check_balancer(make: Make, *, single_task_is_plain: bool = True, absent_changes_others: bool = False) -> None:
    """Holds a balancer to the contract of its family: an error says which promise is broken.

    Permuting tasks permutes what is decided; one task alone trains as without a balancer; a task without a loss leaves its
    own state and the others' weights alone; state goes through `state_dict` by task name; a loss that is no number stays in
    its own task.

    Args:
        make: Builds the balancer for some task names; called several times, it must build equal ones.
        single_task_is_plain: Whether a task alone has the direction of its own gradient at weight 1 before any training.
        absent_changes_others: Whether weights are shared out among the present tasks, so that an absence changes the others'.

    Raises:
        AssertionError: Names the broken promise.

    Example:
        >>> from polytask.balancers import Equal
        >>> check_balancer(Equal)
    """
    _check_permutation(make)
    _check_single_task(make, plain=single_task_is_plain)
    _check_absence(make, changes_others=absent_changes_others)
    _check_state(make)
    _check_not_a_number(make)


class _Net(nn.Module):
    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        self.trunk = nn.Linear(3, 4)
        self.heads = nn.ModuleDict({f"task_{name}": nn.Linear(4, 1) for name in tasks})
        generator = torch.Generator().manual_seed(7)
        with torch.no_grad():
            self.trunk.weight.copy_(torch.randn(4, 3, generator=generator))
            for name in sorted(tasks):
                head: Any = self.heads[f"task_{name}"]
                head.weight.copy_(torch.randn(1, 4, generator=generator))
        self.x = torch.randn(5, 3, generator=generator)

    def losses(self, tasks: Sequence[str]) -> dict[str, Tensor]:
        z = torch.tanh(self.trunk(self.x))
        return {name: _SCALES[name] * (self.heads[f"task_{name}"](z) - 1).pow(2).mean() for name in tasks}

    def gradients(self) -> dict[str, Tensor | None]:
        return {name: None if p.grad is None else p.grad.clone() for name, p in self.named_parameters()}


def _run(balancer: Balancer, net: _Net, tasks: Sequence[str], *, broken: str | None = None) -> Balance:
    net.zero_grad()
    balancer.zero_grad()
    torch.manual_seed(3)
    losses = net.losses(tasks)
    if broken is not None:
        losses[broken] = losses[broken] * float("nan")
    return balancer.backward(losses)


def _check_permutation(make: Make) -> None:
    for order in (("buy", "time", "click"), ("time", "click", "buy")):
        net = _Net(_TASKS)
        straight = _run(make(_TASKS), net, _TASKS)
        expected = net.gradients()
        permuted = _run(make(order), net, order)
        _same(expected, net.gradients(), "permuting the tasks changes the gradient")
        _same(straight.weights, permuted.weights, "permuting the tasks changes their weights")


def _check_single_task(make: Make, *, plain: bool) -> None:
    net = _Net(("buy",))
    net.losses(["buy"])["buy"].backward()  # type: ignore[no-untyped-call]
    expected = net.gradients()
    balance = _run(make(["buy"]), net, ["buy"])
    assert set(balance.weights) == {"buy"}, "one task alone: the balance names other tasks"
    scale = 1.0 if plain else float(balance.weights["buy"])
    scaled = {name: None if gradient is None else scale * gradient for name, gradient in expected.items()}
    _same(scaled, net.gradients(), "one task alone is not trained as without a balancer")


def _check_absence(make: Make, *, changes_others: bool) -> None:
    net, balancer = _Net(_TASKS), make(_TASKS)
    full = _run(balancer, net, _TASKS)
    before = copy.deepcopy(balancer.state_dict())
    balance = _run(balancer, net, ["click", "time"])
    assert set(balance.losses) == set(balance.weights) == {"click", "time"}, "an absent task appears in the balance"
    if not changes_others:
        _same({name: full.weights[name] for name in ("click", "time")}, balance.weights, "an absence changes the others' weights")
    touched = [name for name, p in balancer.named_parameters() if "buy" in name and p.grad is not None]
    assert not touched, f"an absent task's parameter got a gradient: {touched}"
    moved = [name for name, value in balancer.state_dict().items() if "buy" in name and not torch.equal(value, before[name])]
    assert not moved, f"an absent task's state changed: {moved}"
    assert net.heads["task_buy"].weight.grad is None, "an absent task's head got a gradient"


def _check_state(make: Make) -> None:
    net, balancer = _Net(_TASKS), make(_TASKS)
    optimizer = torch.optim.SGD([*balancer.parameters(), nn.Parameter(torch.zeros(()))], lr=0.1)
    for _ in range(2):
        _run(balancer, net, _TASKS)
        optimizer.step()
    restored = make(("time", "buy", "click"))
    restored.load_state_dict(balancer.state_dict())
    expected = _run(balancer, net, _TASKS).weights
    _same(expected, _run(restored, net, _TASKS).weights, "state is not restored by task name")


def _check_not_a_number(make: Make) -> None:
    net, balancer = _Net(_TASKS), make(_TASKS)
    balance = _run(balancer, net, _TASKS, broken="buy")
    assert torch.isnan(balance.losses["buy"]), "the balance hides a loss that is no number"
    for task in ("click", "time"):
        head: Any = net.heads[f"task_{task}"]
        gradient = head.weight.grad
        assert gradient is not None and torch.isfinite(gradient).all(), f"a NaN loss of 'buy' reached the head of {task!r}"
    spread = [
        name
        for name, p in balancer.named_parameters()
        if "buy" not in name and p.grad is not None and not torch.isfinite(p.grad).all()
    ]
    assert not spread, f"a NaN loss of 'buy' reached the balancer's {spread}"


def _same(expected: Mapping[str, Tensor | None], found: Mapping[str, Tensor | None], promise: str) -> None:
    for name, value in expected.items():
        other = found[name]
        equal = value is other is None or (value is not None and other is not None and torch.allclose(value, other, **_CLOSE))
        assert equal, f"{promise}: {name}, {value} became {other}"
