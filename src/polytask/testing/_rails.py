"""What the contract of the balancers is tried on: a small net that moves on rails, whatever a balancer decides.

Since no decision changes where the net goes, two balancers can be compared step by step. The trunk is one layer, so measures of
the last shared layer see all that is shared.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from polytask.balancers import Balance, Balancer
from polytask.sharing import Shared

MakeBalancer = Callable[[Sequence[str]], Balancer]
TASKS = ("click", "buy", "time")
ORDERS = (("buy", "time", "click"), ("buy", "click", "time"))
"""A cycle and a swap: what only turns the tasks round looks the same under another turn."""

_SCALES = {"click": 1.0, "buy": 30.0, "time": 0.01}  # losses of one scale would hide a weight on the wrong task
_NOT_A_NUMBER = float("nan")


class Rows(NamedTuple):
    """What one step sees.

    Args:
        names: Tasks with a loss, in the order of the losses.
        broken: A task whose loss, or its gradient alone, is no number.
        how: What of it is broken: "nan", "inf" or "gradient".
        units: What losses are multiplied by, as under another unit.
    """

    names: tuple[str, ...] = TASKS
    broken: str = ""
    how: str = "nan"
    units: Mapping[str, float] = {}


ALL = Rows()


class Step(NamedTuple):
    """What one step did.

    Args:
        balance: What was decided.
        gradients: What was added to `.grad`, of the net by name.
        own: The same of the balancer's parameters.
    """

    balance: Balance
    gradients: dict[str, Tensor | None]
    own: dict[str, Tensor | None]

    def shared(self) -> Tensor:
        """Gradient of all that is shared, as one vector."""
        found = [gradient for name, gradient in self.gradients.items() if name.startswith("trunk")]
        assert all(gradient is not None for gradient in found), "what is shared got no gradient"
        return torch.cat([gradient.flatten() for gradient in found if gradient is not None])


class Rails(nn.Module):
    """A trunk and a head a task; where it stands and what it sees follow from the number of the step.

    Args:
        tasks: In the order of the balancer.
        seed: Decides everything.
        dtype: Of parameters and inputs.
    """

    def __init__(self, tasks: Sequence[str] = TASKS, *, seed: int = 7, dtype: torch.dtype = torch.float64) -> None:
        super().__init__()
        self.tasks, self.seed = tuple(tasks), seed
        self.trunk = nn.Linear(3, 4, dtype=dtype)
        self.heads = nn.ModuleDict({f"task_{name}": nn.Linear(4, 1, dtype=dtype) for name in tasks})
        self.at(0)

    @torch.no_grad()
    def at(self, time: int | float) -> "Rails":
        """Moves to a place on the rails."""
        numbers = _numbers(self.seed)
        for name, parameter in self.named_parameters():
            start, drift = numbers[name]
            parameter.copy_(start + 0.05 * time * drift)
        self.x = _inputs(self.seed, int(time)).to(self.trunk.weight.dtype)
        return self

    def losses(self, rows: Rows) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        """Losses of the tasks that are there, the representation they read and what a sharing would give of it."""
        z = torch.tanh(self.trunk(self.x))
        outputs = z.expand(len(self.tasks), *z.shape)
        found = {}
        for name in rows.names:
            row = self.tasks.index(name)
            target = 1.0 + 0.3 * sorted(TASKS).index(name)
            guess = self.heads[f"task_{name}"](outputs[row]).to(self.x.dtype)  # as tasks have it under autocast
            found[name] = _SCALES[name] * rows.units.get(name, 1.0) * (guess - target).pow(2).mean()
        if rows.broken:
            found[rows.broken] = _broken(found[rows.broken], rows.how)
        return found, z, outputs

    def take(self) -> dict[str, Tensor | None]:
        """What lies in `.grad`, which is empty afterwards."""
        found = {name: parameter.grad for name, parameter in self.named_parameters()}
        self.zero_grad()
        return found


@cache
def _numbers(seed: int) -> dict[str, Tensor]:
    """Where each parameter starts and which way it goes, for all tasks: a net for some of them has the same heads."""
    generator = torch.Generator().manual_seed(seed)
    shapes = {"trunk.weight": (4, 3), "trunk.bias": (4,)}
    for name in sorted(TASKS):
        shapes |= {f"heads.task_{name}.weight": (1, 4), f"heads.task_{name}.bias": (1,)}
    return {name: torch.randn(2, *shape, generator=generator, dtype=torch.float64) for name, shape in shapes.items()}


@cache
def _inputs(seed: int, time: int) -> Tensor:
    return torch.randn(5, 3, generator=torch.Generator().manual_seed(1000 * seed + time), dtype=torch.float64)


def _broken(loss: Tensor, how: str) -> Tensor:
    if how == "gradient":  # the root of zero: its value is a number, its derivative is none
        return loss + (0 * loss).sqrt()
    return loss * (_NOT_A_NUMBER if how == "nan" else float("inf"))


def made(make: MakeBalancer, tasks: Sequence[str] = TASKS) -> Balancer:
    """A balancer whose state is in float64."""
    return make(tuple(tasks)).double()


def backward(balancer: Balancer, net: Rails, rows: Rows, *, place: str = "graph", penalty: bool = False) -> Balance:
    """One call of `backward`; what it finds in `.grad` stays there.

    Args:
        balancer: Decides.
        net: Is given gradients.
        rows: What is seen.
        place: How the place where tasks part is told: "graph" (not at all), "junction", "shared" or "outputs" (of a sharing).
        penalty: Whether `penalty_of` is added.
    """
    losses, z, outputs = net.losses(rows)
    places: dict[str, dict[str, Any]] = {
        "graph": {},
        "junction": {"junction": (z,)},
        "shared": {"shared": net.trunk.parameters()},
        "outputs": {"junction": Shared(outputs, (z,))},
    }
    return balancer.backward(losses, **places[place], penalty=penalty_of(net, z) if penalty else None)


def penalty_of(net: Rails, z: Tensor) -> Tensor:
    """A prior on what is shared and on what is private, and what an adversary reads."""
    own: Tensor = net.heads[f"task_{net.tasks[-1]}"].weight  # type: ignore[assignment]
    return 3 * net.trunk.weight.square().sum() + 2 * own.square().sum() + 5 * z.sin().sum()


def steps(
    balancer: Balancer, seen: Sequence[Rows], *, net: Rails | None = None, start: int = 0, place: str = "graph"
) -> list[Step]:
    """Steps on the rails: gradients, a plain step of the balancer's own parameters, `after_step`; two make an epoch.

    Args:
        balancer: Decides.
        seen: What each step sees.
        net: Where it is tried; made for the balancer's tasks otherwise.
        start: Number of the first step.
        place: As of `backward`.
    """
    net = Rails(balancer.tasks) if net is None else net
    found = []
    for time, rows in enumerate(seen, start):
        net.at(time).zero_grad()
        balancer.zero_grad()
        torch.default_generator.manual_seed(time)
        balance = backward(balancer, net, rows, place=place)
        own = {name: parameter.grad for name, parameter in balancer.named_parameters()}
        found.append(Step(balance, net.take(), own))
        _move(balancer)
        _look_again(balancer, net, rows, time)
        if time % 2:
            balancer.after_epoch()
    return found


@torch.no_grad()
def _move(balancer: Balancer) -> None:
    for parameter in balancer.parameters():
        if parameter.grad is not None:
            parameter.sub_(0.1 * parameter.grad.nan_to_num(0.0, 0.0, 0.0))


@torch.no_grad()
def _look_again(balancer: Balancer, net: Rails, rows: Rows, time: int) -> None:
    balancer.after_step(partial(_moved_on, net, rows, time))


def _moved_on(net: Rails, rows: Rows, time: int) -> dict[str, Tensor]:
    """Losses of the batch that was seen, half a step further: the inputs follow whole steps."""
    return net.at(time + 0.5).losses(rows)[0]


def own_gradients(net: Rails, rows: Rows) -> dict[str, dict[str, Tensor | None]]:
    """Gradient of each loss by itself, of the net by name."""
    losses, *_ = net.losses(rows)
    parameters = dict(net.named_parameters())
    return {
        name: dict(
            zip(
                parameters,
                torch.autograd.grad(loss, list(parameters.values()), retain_graph=True, allow_unused=True),
                strict=True,
            )
        )
        for name, loss in losses.items()
    }


def equal(a: Tensor | None, b: Tensor | None, *, rtol: float = 1e-6) -> bool:
    """Equal but for rounding and for where an iteration stops; no gradient is a gradient of zeros, NaN is NaN."""
    if a is None or b is None:
        return all(part is None or not part.any() for part in (a, b))
    size = float(torch.nan_to_num(b.detach().double(), 0.0, 0.0, 0.0).abs().max()) if b.numel() else 0.0
    return torch.allclose(a.double(), b.double(), rtol=rtol, atol=rtol * size + 1e-12, equal_nan=True)


def same(expected: Mapping[str, Tensor | None], found: Mapping[str, Tensor | None], promise: str) -> None:
    """Fails with the promise where two sets of tensors differ in what the first names."""
    for name, value in expected.items():
        assert name in found, f"{promise}: {name} is missing"
        assert equal(found[name], value), f"{promise}: {name}, {value} became {found[name]}"


def same_steps(expected: Sequence[Step], found: Sequence[Step], promise: str) -> None:
    """Fails with the promise where decisions or gradients differ."""
    for one, other in zip(expected, found, strict=True):
        same(one.balance.weights, other.balance.weights, f"{promise} (weights)")
        same(one.gradients, other.gradients, f"{promise} (gradients)")
        same(one.own, other.own, f"{promise} (gradients of the balancer's parameters)")
