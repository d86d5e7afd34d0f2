"""Every gradient turned until it harms no task."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balancers._gradient import GramianBalancer
from polytask.balancers.measures import Measured
from polytask.balancers.solvers import dual_cone_weights


@final
class UPGrad(GramianBalancer):
    """Unconflicting projection of gradients: each is projected onto the directions that harm no task; then all are summed.

    `d = Σ_i π(g_i)`, `π(x) = argmin_y ||x - y||` over all y with `<g_j, y> >= 0` for every j

    Prefer it where no task may be harmed and the length of gradients means something: the gain of a task is proportional to its
    gradient, and without conflict it is the plain sum. Not to bring losses to one scale.

    Size: weights of 1 without conflict, more with conflict; d is never longer than the gradients together. Keep the learning
    rate.

    Cost: the measure, and k problems of size k, solved together. See `GramianBalancer`.

    Source: Quinton & Rey 2024, "Jacobian Descent for Multi-Objective Optimization", section 3 and proposition 1 (not at hand;
    checked against the definition, by another solver).
    Differs: the sum of the projections, k times their mean. Exact at any scale: their code returns the mean gradient where all
    gradients together are shorter than 0.01, and adds 1e-4 to the diagonal.

    Args:
        tasks: Names of the k tasks.
        measure: Where gradients are compared: a name in `MEASURES`, a table of its options, or a `Measure`.
        every: Steps from one measurement to the next; between them the last weights are used.

    Example:
        >>> x = torch.nn.Parameter(torch.ones(2))
        >>> _ = UPGrad(["click", "buy"]).backward({"click": x[0], "buy": x[1] - x[0]}, shared=[x])
        >>> x.grad
        tensor([0.5000, 1.5000])
    """

    def weigh(self, measured: Measured, losses: Float[Tensor, " m"], names: tuple[str, ...]) -> Float[Tensor, " m"]:
        """Weights of the sum of all projections."""
        alone = torch.eye(len(names), dtype=losses.dtype, device=losses.device)
        return dual_cone_weights(measured.gramian, alone).sum(0)
