"""The direction on which bargaining tasks agree."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balancers._gradient import GramianBalancer
from polytask.balancers.measures import DEFAULT_MEASURE, Measure, Measured
from polytask.balancers.solvers import nash_weights
from polytask.errors import ConfigError, message


@final
class NashMTL(GramianBalancer):
    """Nash-MTL: tasks bargain; the direction has the greatest product of all tasks' gains among those of one length.

    `w = min(1, max_norm / ||d||) sqrt(||G||_F) a`, `G a = 1 / a`, `a > 0`

    At the solution each task's gain times its weight is the same, so no unit of a loss matters for the direction, and every
    task gains.

    Prefer it where losses have units that nobody can compare and no task may be harmed. Not for many tasks that nearly cancel
    (near a Pareto-stationary point weights grow without bound, and with a measure that sees a part of the gradients they are
    wrong at their largest).

    Size: weights do not depend on the scale of all losses. Tasks that all agree have weights of 1; orthogonal gradients of one
    length `k^(1/4)`. The clip makes most steps `max_norm` long: the learning rate is then a length, and under plain SGD it is
    another one than that of the sum. `max_norm` is held against d where it is measured (with the default measure in the last
    shared layer); 0 leaves d as it is, to be clipped by the trainer or not.

    Cost: the measure, and 5 to 15 Newton steps of size k. See `GramianBalancer`; the paper measures every 10th or 100th step.

    Source: Navon et al. 2022, "Multi-Task Learning as a Bargaining Game", claim 3.1 (not at hand) and the code of its authors:
    G divided by its Frobenius norm for the solution, gradients of shared parameters clipped at 1.
    Differs: the equation is solved to the end; their code stops after 20 convex programs that start from the last solution.

    Args:
        tasks: Names of the k tasks.
        max_norm: Greatest length of d; 0 for none.
        measure: Where gradients are compared: a name in `MEASURES`, a table of its options, or a `Measure`.
        every: Steps from one measurement to the next; between them the last weights are used.

    Raises:
        ConfigError: If `max_norm` is negative.

    Example:
        >>> x = torch.nn.Parameter(torch.ones(2))
        >>> _ = NashMTL(["click", "buy"]).backward({"click": 3 * x[0], "buy": x[1]}, shared=[x])
        >>> x.grad
        tensor([0.7071, 0.7071])
    """

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        max_norm: float = 1.0,
        measure: str | Mapping[str, Any] | Measure = DEFAULT_MEASURE,
        every: int = 1,
    ) -> None:
        super().__init__(tasks, measure=measure, every=every)
        if not max_norm >= 0:
            raise ConfigError(message("`max_norm` must be a number >= 0.", received=max_norm, way_out="0 clips nothing."))
        self.max_norm = max_norm

    def weigh(self, measured: Measured, losses: Float[Tensor, " m"], names: tuple[str, ...]) -> Float[Tensor, " m"]:  # noqa: ARG002
        """`min(1, max_norm / ||d||) sqrt(||G||_F) a`."""
        gramian = measured.gramian
        weights = gramian.square().sum() ** 0.25 * nash_weights(gramian)
        weights = torch.where(gramian.any(), weights, 1.0)  # nothing is shared: each loss has its own gradient
        if not self.max_norm:
            return weights
        length = (weights @ gramian @ weights).clamp_min(self.max_norm**2).sqrt()
        return weights * (self.max_norm / length)
