"""Weights that are learned noise levels."""

import math
from collections.abc import Mapping, Sequence
from typing import final

import torch
from torch import Tensor, nn

from polytask.balancers._loss import LossBalancer
from polytask.errors import ConfigError, message

_PREFIX = "task_"  # keeps a task called "keys" or "train" from hiding a method of nn.ParameterDict


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
        if len(bounds) != 2 or not bounds[0] <= init <= bounds[1]:
            raise ConfigError(message("`init` must lie inside `bounds`.", received=f"init {init}, bounds {tuple(bounds)}"))
        self.bounds = (float(bounds[0]), float(bounds[1]))
        self._log_variances = nn.ParameterDict({_PREFIX + name: nn.Parameter(torch.tensor(float(init))) for name in self.tasks})

    def log_variance(self, task: str) -> nn.Parameter:
        """The parameter `s_k` of one task."""
        parameter: nn.Parameter = self._log_variances[_PREFIX + task]
        return parameter

    def sigma(self) -> dict[str, float]:
        """Learned noise level `e^(s_k / 2)` of each task, in the unit of its loss; waits for the device."""
        return {name: math.exp(0.5 * float(self.log_variance(name).detach())) for name in self.tasks}

    def objective(self, losses: Mapping[str, Tensor]) -> Tensor:
        """`Σ_k e^(-s_k) L_k + s_k / 2`."""
        own: list[Tensor] = [self.log_variance(name) for name in losses]
        with torch.no_grad():
            for parameter in own:  # projected, not clamped in the graph: beyond a bound a clamp has no gradient to come back by
                parameter.clamp_(*self.bounds)
        s, loss = torch.stack(own), torch.stack(list(losses.values()))
        return (torch.exp(-s) * loss + 0.5 * s).sum()
