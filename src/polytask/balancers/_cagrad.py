"""Near the mean gradient, the direction that helps the worst-off task most."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balancers._gradient import GramianBalancer
from polytask.balancers.measures import DEFAULT_MEASURE, Measure, Measured
from polytask.balancers.solvers import conflict_averse_weights
from polytask.errors import ConfigError, message, nearest

_RESCALE = ("none", "square", "linear")


@final
class CAGrad(GramianBalancer):
    """Conflict-averse gradient descent: of all directions near the mean gradient, the one that helps the worst-off task most.

    `d = k s argmax_d min_i <g_i, d>` over `||d - g_0|| <= c ||g_0||`, with the mean gradient `g_0`; s is 1, `1 / (1 + c²)` or
    `1 / (1 + c)`

    With c = 0 it is the plain sum; with c of 1 or more no task is harmed, and d goes the way of MGDA as c grows.

    Prefer it where the plain sum works but leaves a task behind: c says how far to leave the sum. Not to bring losses to one
    scale: the mean belongs to the longest gradient, and a task with a gradient near zero is the worst off for ever.

    Size: weights of `k s (1 / k + ...)`; tasks that all agree have weights of 1 with `linear`. Keep the learning rate.

    Cost: the measure, and 4 to 9 problems of size k. See `GramianBalancer`.

    Source: Liu et al. 2021, "Conflict-Averse Gradient Descent for Multi-task Learning", eq. 4 and algorithm 1 (not at hand;
    checked against the code of its authors, which has the three scales as `rescale` 0, 1 and 2). c = 0.4 is theirs for NYUv2.
    Differs: multiplied by k, as their code does for tasks, so that c = 0 is the sum. Their scale is `square` where nothing else
    is said; here `linear`, with which one task alone trains as without a balancer. Solved exactly at any scale of the losses.

    Args:
        tasks: Names of the k tasks.
        c: Radius around the mean gradient, as a multiple of its length; 0 or more.
        rescale: What undoes the added length.
        measure: Where gradients are compared: a name in `MEASURES`, a table of its options, or a `Measure`.
        every: Steps from one measurement to the next; between them the last weights are used.

    Raises:
        ConfigError: If `c` is negative or `rescale` unknown.

    Example:
        >>> x = torch.nn.Parameter(torch.ones(2))
        >>> balance = CAGrad(["click", "buy"]).backward({"click": 3 * x[0], "buy": x[1]}, shared=[x])
        >>> balance.weights["buy"].item() > 1 > balance.weights["click"].item()
        True
    """

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        c: float = 0.4,
        rescale: str = "linear",
        measure: str | Mapping[str, Any] | Measure = DEFAULT_MEASURE,
        every: int = 1,
    ) -> None:
        super().__init__(tasks, measure=measure, every=every)
        if not 0 <= c < float("inf"):
            raise ConfigError(message("`c` must be a number >= 0.", received=c))
        if rescale not in _RESCALE:
            raise ConfigError(message("Unknown scale.", received=repr(rescale), way_out=nearest(rescale, _RESCALE)))
        self.c, self.rescale = c, rescale

    def weigh(self, measured: Measured, losses: Float[Tensor, " m"], names: tuple[str, ...]) -> Float[Tensor, " m"]:  # noqa: ARG002
        """`k s (1 / k + c ||g_0|| / ||g_w|| w)`."""
        scale = {"none": 1.0, "square": 1.0 / (1.0 + self.c**2), "linear": 1.0 / (1.0 + self.c)}[self.rescale]
        gramian = measured.gramian
        weights = len(names) * scale * conflict_averse_weights(gramian, self.c)
        return torch.where(gramian.any(), weights, 1.0)  # nothing is shared: each loss has its own gradient
