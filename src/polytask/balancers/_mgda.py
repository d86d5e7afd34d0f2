"""The shortest vector in the convex hull of the gradients."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balancers._gradient import GramianBalancer
from polytask.balancers.measures import DEFAULT_MEASURE, Measure, Measured
from polytask.balancers.solvers import min_norm_weights
from polytask.errors import ConfigError, message, nearest

_NORMALISE = ("none", "l2", "loss", "loss_l2")


@final
class MGDA(GramianBalancer):
    """Multiple-gradient descent: the shortest convex combination of the gradients, which harms no task.

    `w = k a / n / Σ (a / n)`, `a = argmin ||Σ_i a_i g_i / n_i||²` over `a >= 0`, `Σ a = 1`; `n_i` is 1, `||g_i||`, `L_i` or
    `L_i ||g_i||`

    Every task gains at least `||d||²` from d (of what is compared, `g_i / n_i`). Where d is zero the point is Pareto-stationary:
    no direction helps all tasks.

    Prefer it to stop where nothing can be gained for free, with few tasks of losses on one scale. Not without `normalise` where
    gradients differ in length: the shortest has nearly all the weight, so the task that is almost learned rules the rest; nor
    where a task can be learned to the end, since a gradient of zero is the shortest vector and stops the others.

    Size: weights sum to k; d is shorter than the sum of the gradients, often by far. Try a learning rate 2 to 5 times as high.

    Cost: the measure, and one problem of size k. See `GramianBalancer`.

    Source: Désidéri 2012, "Multiple-gradient descent algorithm (MGDA) for multiobjective optimization", theorem 2.2 (not at
    hand); Sener & Koltun 2018, "Multi-Task Learning as Multi-Objective Optimization", eq. 3 (not at hand) and their code, which
    has the four ways to normalise. `measure="junction"` is their bound MGDA-UB.
    Differs: weights sum to k, not 1. The exact minimum; their Frank-Wolfe iteration stops early. The gradients are summed as
    they were compared, divided by `n_i`: their code divides them for the comparison alone, and what it sums harms tasks then
    (two tasks with `l2` are its plain sum). A negative loss counts as its absolute value; `n_i = 0` counts as 1.

    Args:
        tasks: Names of the k tasks.
        normalise: What gradients are divided by: nothing, their length, the loss, or both. With `l2` or `loss` the unit of a loss
            does not matter.
        measure: Where gradients are compared: a name in `MEASURES`, a table of its options, or a `Measure`.
        every: Steps from one measurement to the next; between them the last weights are used.

    Raises:
        ConfigError: If `normalise` is unknown.

    Example:
        >>> x = torch.nn.Parameter(torch.ones(2))
        >>> balance = MGDA(["click", "buy"]).backward({"click": 3 * x[0], "buy": x[1]}, shared=[x])
        >>> {name: round(weight.item(), 2) for name, weight in balance.weights.items()}
        {'click': 0.2, 'buy': 1.8}
    """

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        normalise: str = "none",
        measure: str | Mapping[str, Any] | Measure = DEFAULT_MEASURE,
        every: int = 1,
    ) -> None:
        super().__init__(tasks, measure=measure, every=every)
        if normalise not in _NORMALISE:
            raise ConfigError(
                message("Unknown way to normalise.", received=repr(normalise), way_out=nearest(normalise, _NORMALISE))
            )
        self.normalise = normalise

    def weigh(self, measured: Measured, losses: Float[Tensor, " m"], names: tuple[str, ...]) -> Float[Tensor, " m"]:
        """`k a / n / Σ (a / n)`."""
        gramian = measured.gramian
        divisor = torch.ones_like(losses)
        if self.normalise in ("l2", "loss_l2"):
            divisor = divisor * gramian.diagonal().clamp_min(0.0).sqrt()
        if self.normalise in ("loss", "loss_l2"):
            divisor = divisor * losses.abs()
        divisor = torch.where(divisor > 0, divisor, 1.0)
        weights = min_norm_weights(gramian / divisor / divisor[:, None]) / divisor
        return len(names) * weights / weights.sum()
