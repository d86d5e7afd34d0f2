"""A smooth maximum of the losses."""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balancers._epoch_means import EpochMeans
from polytask.balancers._given import check_positive
from polytask.balancers._loss import LossBalancer
from polytask.balancers._positive import at_least
from polytask.balancers._state import PerTaskState


@final
class SmoothTchebycheff(LossBalancer):
    """Smooth Tchebycheff scalarisation: mostly the task that is worst against its own reference is trained.

    `objective = m μ log Σ_k exp(log(L_k / ν_k) / μ)` over the m present tasks; in the first epochs `Σ_k log L_k`, whose last
    epoch means become the references `ν_k`

    A small μ is near the maximum; at μ = 1 the sum of `L_k / ν_k` is what falls. Unlike any weighted sum it can reach
    compromises in the hollow parts of the front of trade-offs.

    Prefer it when the worst task matters. Not when one task cannot be learned: it then holds the others back, and not with few
    epochs.

    Cost: none beside the backward pass. Call `after_epoch()` after each pass over the data; the trainer does.

    Source: Lin et al. 2024, "Smooth Tchebycheff Scalarization for Multi-Objective Optimization", with logarithms and warm-up
    as in the version of the official code that LibMTL took over (read there).
    Differs: references are the means of the last warm-up epoch, where that code warms up one epoch more. A task first seen later
    has its own loss as reference until an epoch ends. A loss at or below `floor` counts as `floor` and is minimised still; one
    that is no number is left out. Logarithms weigh a task alone by `1 / L`, not 1: that is the method.

    Args:
        tasks: Names of the k tasks.
        mu: μ, above 0.
        warmup_epochs: Epochs of the plain sum of logarithms, at least 1.
        floor: Least loss that is told from smaller ones, above 0.

    Raises:
        ConfigError: If `mu`, `warmup_epochs` or `floor` is not above 0.

    Example:
        >>> import torch
        >>> balancer = SmoothTchebycheff(["click", "buy"], mu=0.5, warmup_epochs=1)
        >>> x = torch.tensor(2.0, requires_grad=True)
        >>> _ = balancer.backward({"click": 2 * x, "buy": x**2})
        >>> balancer.after_epoch()
        >>> balance = balancer.backward({"click": 2 * x, "buy": 0.5 * x**2})  # "buy" is better than it was
        >>> {name: round(weight.item(), 3) for name, weight in balance.weights.items()}
        {'click': 0.4, 'buy': 0.2}
    """

    epochs: Tensor

    def __init__(self, tasks: Sequence[str], *, mu: float = 1.0, warmup_epochs: int = 4, floor: float = 1e-6) -> None:
        super().__init__(tasks)
        check_positive(mu=mu, warmup_epochs=warmup_epochs, floor=floor)
        self.mu, self.warmup_epochs, self.floor = mu, warmup_epochs, floor
        self.epoch = EpochMeans(self.tasks)
        self.nadir = PerTaskState(self.tasks, fill=0.0)  # 0: not known
        self.register_buffer("epochs", torch.zeros((), dtype=torch.int64))

    def objective(self, losses: Float[Tensor, " k"], names: Sequence[str]) -> Tensor:
        """`m μ log Σ_k exp(log(L_k / ν_k) / μ)`, or `Σ_k log L_k` at first."""
        seen = losses.detach()
        self.epoch.add(names, seen)
        finite, nadir = torch.isfinite(seen), self.nadir.at(names)
        logs = torch.log(at_least(losses, self.floor))
        reference = torch.where(nadir > 0, nadir, seen.clamp_min(self.floor)).log()
        worst = torch.logsumexp(((logs - reference) / self.mu).masked_fill(~finite, -torch.inf), 0)
        return torch.where(self.epochs < self.warmup_epochs, logs.sum(), finite.sum() * self.mu * worst)

    @torch.no_grad()
    def after_epoch(self) -> None:
        """Sets the references that are due."""
        mean, seen = self.epoch.take()
        self.epochs += 1
        due = seen & (self.nadir.value == 0) & (self.epochs >= self.warmup_epochs)
        self.nadir.put(self.tasks, torch.where(due, mean.clamp_min(self.floor), self.nadir.value))
