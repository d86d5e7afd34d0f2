"""Weights that grow or shrink by a factor each epoch."""

from collections.abc import Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balancers._given import Given
from polytask.balancers._loss import LossBalancer


@final
class GainSchedule(LossBalancer):
    """A weighted sum whose weights change by a factor of their own each epoch.

    `objective = Σ_k w_k γ_k^e L_k` in epoch e = 0, 1, ...

    Prefer it to let a task lead at first and step back later, when you know which. Not without knowing: two numbers a task are
    to be tuned, and a γ above 1 grows without end.

    Cost: none beside the backward pass. Call `after_epoch()` after each pass over the data; the trainer does.

    Source: Tang et al. 2020, "Progressive Layered Extraction", the schedule of its joint loss (the text was not at hand for
    the number of the equation).
    Differs: nothing.

    Args:
        tasks: Names of the k tasks.
        weights: Weight `w_k` of each task in the first epoch, not negative; a task that is not named weighs 1.
        gains: Factor `γ_k` of each task, not negative; a task that is not named keeps its weight.

    Raises:
        ConfigError: If a number is negative or not finite, or names no task.

    Example:
        >>> import torch
        >>> balancer = GainSchedule(["click", "buy"], gains={"click": 0.5})
        >>> x = torch.tensor(3.0, requires_grad=True)
        >>> for _ in range(3):
        ...     balance = balancer.backward({"click": 2 * x, "buy": x**2})
        ...     balancer.after_epoch()
        >>> balance.weights
        {'click': tensor(0.2500), 'buy': tensor(1.)}
    """

    epoch: Tensor

    def __init__(
        self, tasks: Sequence[str], *, weights: Mapping[str, float] | None = None, gains: Mapping[str, float] | None = None
    ) -> None:
        super().__init__(tasks)
        self._weights = Given(self.tasks, weights or {}, what="weight")
        self._gains = Given(self.tasks, gains or {}, what="gain")
        self.register_buffer("epoch", torch.zeros(()))

    def objective(self, losses: Float[Tensor, " k"], names: Sequence[str]) -> Tensor:
        """`Σ_k w_k γ_k^e L_k`."""
        return (self._weights.at(names) * self._gains.at(names) ** self.epoch * losses).sum()

    def after_epoch(self) -> None:
        """The next epoch begins."""
        self.epoch += 1
