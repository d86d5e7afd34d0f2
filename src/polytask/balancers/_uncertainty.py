"""Weights that are learned noise levels."""

import math
from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.balancers._loss import LossBalancer
from polytask.balancers._scalars import BoundedScalars


@final
class Uncertainty(LossBalancer):
    """Each loss is divided by a learned noise variance: noisy tasks speak softly.

    `objective = Σ_k e^(-s_k) L_k + s_k / 2` with `s_k = log σ_k²`

    With a loss that is the mean over rows of a negative log-likelihood of unit variance (`½ (y - f)²` for regression) the
    optimum is `σ_k² = mean residual²`: the noise of the task in the unit of its loss. That is so only for means: a sum over
    rows or an added constant makes σ a number without meaning.

    Prefer it when losses differ in scale for reasons nobody knows, and the tasks are noisy. Not when a task can be fitted
    without error (its weight grows until the bound), and not for tasks whose loss is no likelihood (penalties, regularisers).
    It learns slowly: at least `|s* - s| / lr` steps, and Adam makes it far more where a loss starts large, because it remembers
    the first gradients. With standardised targets `s` starts near its place; else give the balancer a larger rate
    (`lr = {balancer = 1e-2}`).

    Cost: none beside the backward pass; k parameters, without weight decay.

    Source: Kendall, Gal & Cipolla 2018, "Multi-Task Learning Using Uncertainty to Weigh Losses for Scene Geometry and
    Semantics", eq. 7 and 10, in the log-variance form of section 3.2.
    Differs: one form for every kind of task, since the regression loss already carries the factor ½ that the paper writes
    out; s is held inside bounds, so that a task with no error cannot grow without limit.

    Args:
        tasks: Names of the k tasks.
        init: Where every `s_k` starts; -2 to 5 end at the same place.
        bounds: Least and greatest `s_k`; (-6, 6) lets weights range from 0.0025 to 400.

    Raises:
        ConfigError: If `init` is outside `bounds`.

    Example:
        >>> import torch
        >>> balancer = Uncertainty(["click", "buy"], init=0.0)
        >>> x = torch.tensor(3.0, requires_grad=True)
        >>> _ = balancer.backward({"buy": x**2})
        >>> x.grad, balancer.log_variance("buy").grad, balancer.log_variance("click").grad
        (tensor(6.), tensor(-8.5000), None)
    """

    def __init__(self, tasks: Sequence[str], *, init: float = 0.0, bounds: tuple[float, float] = (-6.0, 6.0)) -> None:
        super().__init__(tasks)
        self._log_variances = BoundedScalars(self.tasks, init=init, bounds=bounds)

    def log_variance(self, task: str) -> nn.Parameter:
        """The parameter `s_k` of one task."""
        return self._log_variances.of(task)

    def sigma(self) -> dict[str, float]:
        """Learned noise level `e^(s_k / 2)` of each task, in the unit of its loss; waits for the device."""
        return {name: math.exp(0.5 * float(self.log_variance(name).detach())) for name in self.tasks}

    def objective(self, losses: Float[Tensor, " k"], names: Sequence[str]) -> Tensor:
        """`Σ_k e^(-s_k) L_k + s_k / 2`."""
        s = self._log_variances.at(names)
        return (torch.exp(-s) * losses + 0.5 * s).sum()
