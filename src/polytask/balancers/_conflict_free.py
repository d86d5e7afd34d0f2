"""The same angle to every gradient."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balancers._gradient import GramianBalancer
from polytask.balancers.measures import Measured
from polytask.balancers.solvers import unit_sum_weights


@final
class ConFIG(GramianBalancer):
    """Conflict-free inverse gradients: the direction has the same angle to every task's gradient.

    `d = (Σ_i <g_i, u>) u`, `u = U⁺ 1 / ||U⁺ 1||`, the rows of U are the gradients divided by their lengths

    Prefer it where losses have units that nobody can compare (terms of an equation and its borders) and no task may be harmed.
    Not for tasks that are nearly opposite (the angle is nearly a right one, and the step short), and not where a gradient is
    noise near zero: its direction counts as much as the others'.

    Size: d is as long as the projections of all gradients onto it together; tasks that all agree have weights of 1. Longer
    gradients make d longer, though they do not turn it. Keep the learning rate.

    Cost: the measure, and one eigendecomposition of size k. See `GramianBalancer`.

    Source: Liu, Chu & Thuerey 2024, "ConFIG: Towards Conflict-free Training of Physics Informed Neural Networks", eq. 2 and 3
    (not at hand; checked against the code of its authors).
    Differs: none with equal weights of directions; their other models of weights and of lengths are not here.

    Args:
        tasks: Names of the k tasks.
        measure: Where gradients are compared: a name in `MEASURES`, a table of its options, or a `Measure`.
        every: Steps from one measurement to the next; between them the last weights are used.

    Example:
        >>> x = torch.nn.Parameter(torch.ones(2))
        >>> _ = ConFIG(["click", "buy"]).backward({"click": 3 * x[0], "buy": x[1]}, shared=[x])
        >>> x.grad
        tensor([2., 2.])
    """

    def weigh(self, measured: Measured, losses: Float[Tensor, " m"], names: tuple[str, ...]) -> Float[Tensor, " m"]:  # noqa: ARG002
        """`(Σ_i <g_i, u>) u` as weights of the gradients."""
        gramian = measured.gramian
        return torch.where(gramian.any(), unit_sum_weights(gramian), 1.0)  # nothing is shared: each loss has its own gradient
