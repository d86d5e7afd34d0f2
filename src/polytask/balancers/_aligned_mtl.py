"""Gradients whose principal directions count the same."""

from typing import final

from jaxtyping import Float
from torch import Tensor

from polytask.balancers._gradient import GramianBalancer
from polytask.balancers.measures import Measured
from polytask.balancers.solvers import aligned_weights


@final
class AlignedMTL(GramianBalancer):
    """Independent component alignment: the principal directions of all gradients are made equally long, then summed.

    `w = B 1`, `B = sqrt(l_min) V L^(-1/2) Vᵀ` of `G = V L Vᵀ`: `B J` has all singular values equal to the least one of J

    It takes away both kinds of trouble at once, conflict and dominance, since both show in the condition of J.

    Prefer it for a few tasks with gradients that are well apart. Not for tasks that nearly agree: `l_min` is then what little
    tells them apart, and the step is as short. It leans to the directions of several tasks less than the sum does.

    Size: orthogonal gradients of one length and tasks that all agree have weights of 1, all others less: d has the size of the
    least principal direction. Expect to raise the learning rate, or use an optimizer that does not see scale.

    Cost: the measure, and one eigendecomposition of size k. See `GramianBalancer`.

    Source: Senushkin et al. 2023, "Independent Component Alignment for Multi-Task Learning", eq. 10 and algorithm 1 (not at hand;
    checked against two implementations). This is their AMTL; AMTL-UB is `measure="junction"`.
    Differs: the sum of the aligned gradients; TorchJD takes their mean.

    Args:
        tasks: Names of the k tasks.
        measure: Where gradients are compared: a name in `MEASURES`, a table of its options, or a `Measure`.
        every: Steps from one measurement to the next; between them the last weights are used.

    Example:
        >>> import torch
        >>> x = torch.nn.Parameter(torch.ones(2))
        >>> _ = AlignedMTL(["click", "buy"]).backward({"click": 3 * x[0], "buy": x[1]}, shared=[x])
        >>> x.grad
        tensor([1., 1.])
    """

    def weigh(self, measured: Measured, losses: Float[Tensor, " m"], names: tuple[str, ...]) -> Float[Tensor, " m"]:  # noqa: ARG002
        """`B 1`."""
        return aligned_weights(measured.gramian)
