"""Numbers of tasks that the user chose."""

import math
from collections.abc import Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.balancers._places import Places
from polytask.errors import ConfigError, message, nearest


@final
class Given(nn.Module):
    """One number a task, on the device of the balancer and not in its state: a run goes on with what it declares now.

    Args:
        tasks: Names of the k tasks.
        numbers: Number of each task, finite and not negative; a task that is not named has 1.
        what: What a number is, for messages: "weight".

    Raises:
        ConfigError: If a number is negative or not finite, or names no task.

    Example:
        >>> Given(["click", "buy"], {"buy": 10.0}, what="weight").at(("buy", "click"))
        tensor([10.,  1.])
    """

    value: Tensor

    def __init__(self, tasks: Sequence[str], numbers: Mapping[str, float], *, what: str) -> None:
        super().__init__()
        check_names(tasks, numbers, what=what)
        for name, number in numbers.items():
            if not (math.isfinite(number) and number >= 0):
                raise ConfigError(message(f"The {what} of task {name!r} must be a number >= 0.", received=number))
        self.register_buffer("value", torch.tensor([float(numbers.get(name, 1.0)) for name in tasks]), persistent=False)
        self._places = Places(tasks)

    def at(self, names: Sequence[str]) -> Float[Tensor, " k"]:
        """The numbers of some tasks, in their order."""
        return self.value if tuple(names) == self._places.order else self.value[self._places.of(names, self.value.device)]


def check_names(tasks: Sequence[str], names: Mapping[str, float] | Sequence[str], *, what: str) -> None:
    """Raises a `ConfigError` for the first name that is no task's."""
    for name in names:
        if name not in tasks:
            raise ConfigError(message(f"A {what} names an unknown task.", received=repr(name), way_out=nearest(name, tasks)))


def check_positive(**numbers: float | int) -> None:
    """Raises a `ConfigError` for the first argument that is not a number above 0."""
    for name, number in numbers.items():
        if not (math.isfinite(number) and number > 0):
            raise ConfigError(message(f"`{name}` must be a number > 0.", received=number))


def check_not_negative(**numbers: float | int) -> None:
    """Raises a `ConfigError` for the first argument that is not a number of at least 0."""
    for name, number in numbers.items():
        if not (math.isfinite(number) and number >= 0):
            raise ConfigError(message(f"`{name}` must be a number >= 0.", received=number))
