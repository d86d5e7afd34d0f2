"""Auxiliary tasks that help at first and step back later."""

import math
from collections.abc import Callable, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balancers._given import Given, check_names, check_positive
from polytask.balancers._loss import LossBalancer
from polytask.errors import ConfigError, message, nearest

_SHAPES: dict[str, Callable[[Tensor, float], Tensor]] = {
    "linear": lambda t, floor: 1 - (1 - floor) * t,
    "exponential": lambda t, floor: torch.exp(math.log(floor) * t),
    "cosine": lambda t, floor: floor + (1 - floor) * 0.5 * (1 + torch.cos(math.pi * t)),
}


@final
class AuxiliaryDecay(LossBalancer):
    """The plain sum, in which named auxiliary tasks fade from 1 to a floor.

    `objective = Σ_main L_k + a(t) Σ_auxiliary L_k`, `t = min(step / steps, 1)`; linear `a = 1 - (1 - f) t`, exponential
    `a = f^t`, cosine `a = f + (1 - f) (1 + cos πt) / 2`

    Prefer it where tasks are there only to form the shared layers early (a rare event's frequent forerunners) and compete with
    the main ones later. Not where the auxiliary tasks are served too, nor where they guard against overfitting to the end.

    Cost: none beside the backward pass.

    Source: no single paper; schedules of loss weights are common practice.
    Differs: nothing to differ from.

    Args:
        tasks: Names of the k tasks.
        auxiliary: Names of the tasks that fade.
        steps: Calls of `backward` until the floor is reached (several a step where batches are accumulated).
        floor: What an auxiliary task weighs in the end, from 0 to 1; above 0 for the exponential.
        shape: "linear", "exponential" or "cosine".

    Raises:
        ConfigError: If a name or the shape is unknown, all tasks or none would fade, or a number is out of range.

    Example:
        >>> import torch
        >>> balancer = AuxiliaryDecay(["buy", "click"], auxiliary=["click"], steps=2)
        >>> x = torch.tensor(3.0, requires_grad=True)
        >>> [balancer.backward({"buy": x, "click": x}).weights["click"].item() for _ in range(4)]
        [1.0, 0.5, 0.0, 0.0]
    """

    step: Tensor

    def __init__(
        self, tasks: Sequence[str], *, auxiliary: Sequence[str], steps: int, floor: float = 0.0, shape: str = "linear"
    ) -> None:
        super().__init__(tasks)
        check_names(self.tasks, auxiliary, what="auxiliary task")
        check_positive(steps=steps)
        if not set(auxiliary) or set(auxiliary) == set(self.tasks):
            raise ConfigError(message("Some tasks must fade and some must stay.", received=f"auxiliary {list(auxiliary)}"))
        if shape not in _SHAPES:
            raise ConfigError(message("Unknown shape.", received=repr(shape), way_out=nearest(shape, _SHAPES)))
        if not 0 <= floor <= 1 or (shape == "exponential" and floor == 0):
            raise ConfigError(message("`floor` must lie from 0 to 1, above 0 for 'exponential'.", received=floor))
        self.steps, self.floor, self.shape = steps, floor, shape
        fades = {name: float(name in auxiliary) for name in self.tasks}
        self._fades = Given(self.tasks, fades, what="share")
        self.register_buffer("step", torch.zeros((), dtype=torch.int64))

    def objective(self, losses: Float[Tensor, " k"], names: Sequence[str]) -> Tensor:
        """`Σ_main L_k + a(t) Σ_auxiliary L_k`."""
        weight = _SHAPES[self.shape]((self.step / self.steps).clamp_max(1), self.floor)
        self.step += 1
        return ((1 - self._fades.at(names) * (1 - weight)) * losses).sum()
