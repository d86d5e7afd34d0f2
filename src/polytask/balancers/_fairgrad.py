"""Gains shared out fairly."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balancers._given import check_positive
from polytask.balancers._gradient import GramianBalancer
from polytask.balancers.measures import DEFAULT_MEASURE, Measure, Measured
from polytask.balancers.solvers import power_weights


@final
class FairGrad(GramianBalancer):
    """FairGrad: gains are shared out by alpha-fairness, from efficient (alpha near 0) to all tasks gaining the same.

    `w = ||G||_F^(alpha / (1 + alpha)) a`, `G a = a^(-1 / alpha)`, `a > 0`

    With alpha 1 it is Nash-MTL without its clip; the gains are `<g_i, d> = a_i^(-1 / alpha)`, and towards infinity they are
    equal.

    Prefer it to move between the tasks' total (small alpha) and the worst-off task (large alpha) with one number. Not with a
    large alpha where gradients differ in length: equal gains belong to losses of one unit. What is said of weights near a
    Pareto-stationary point in `nash_mtl` holds here.

    Size: weights do not depend on the scale of all losses; tasks that all agree have weights of 1. Keep the learning rate, and
    clip gradients as the authors do (at 1).

    Cost: the measure, and 5 to 15 Newton steps of size k. See `GramianBalancer`.

    Source: Ban & Ji 2024, "Fair Resource Allocation in Multi-Task Learning", eq. 4 (not at hand) and the code of its authors.
    Differs: G is divided by its Frobenius norm, as in the code of Nash-MTL: the authors' weights fall with the length of the
    gradients, then are multiplied by k and clipped. The direction is the same. Solved by Newton steps, where their code
    minimises squared residuals.

    Args:
        tasks: Names of the k tasks.
        alpha: How fair, above 0.
        measure: Where gradients are compared: a name in `MEASURES`, a table of its options, or a `Measure`.
        every: Steps from one measurement to the next; between them the last weights are used.

    Raises:
        ConfigError: If `alpha` is not above 0.

    Example:
        >>> x = torch.nn.Parameter(torch.ones(2))
        >>> _ = FairGrad(["click", "buy"], alpha=1.0).backward({"click": 3 * x[0], "buy": x[1]}, shared=[x])
        >>> (x.grad[0] / x.grad[1]).item()
        1.0
    """

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        alpha: float = 2.0,
        measure: str | Mapping[str, Any] | Measure = DEFAULT_MEASURE,
        every: int = 1,
    ) -> None:
        super().__init__(tasks, measure=measure, every=every)
        check_positive(alpha=alpha)
        self.alpha = alpha

    def weigh(self, measured: Measured, losses: Float[Tensor, " m"], names: tuple[str, ...]) -> Float[Tensor, " m"]:  # noqa: ARG002
        """`||G||_F^(alpha / (1 + alpha)) a`."""
        gramian = measured.gramian
        length = gramian.square().sum().sqrt()
        weights = length ** (self.alpha / (1.0 + self.alpha)) * power_weights(gramian, self.alpha)
        return torch.where(gramian.any(), weights, 1.0)  # nothing is shared: each loss has its own gradient
