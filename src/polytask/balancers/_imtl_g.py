"""Equal projections onto every gradient."""

from typing import final

from jaxtyping import Float
from torch import Tensor

from polytask.balancers._gradient import GramianBalancer
from polytask.balancers.measures import Measured
from polytask.balancers.solvers import equal_projection_weights


@final
class IMTLG(GramianBalancer):
    """Impartial learning of gradients: the direction has the same projection onto every task's gradient.

    `d = Σ_i w_i g_i` with `<g_i, d> / ||g_i||` the same for all i; `w = k v / |Σ v|`, `v = G⁺ sqrt(diag G)`

    No unit of a loss matters for the direction, and each task gains as much of its own length as the others.

    Prefer it where losses have units that nobody can compare. Not where some gradient is noise near zero: it counts as much as
    the others and makes them short. Weights may be negative and large where gradients are nearly opposite or lengths far apart.

    Size: weights sum to k or to -k; d is of the size of the shortest gradients. Raise the learning rate where lengths are far
    apart, and clip gradients.

    Cost: the measure, and one eigendecomposition of size k. See `GramianBalancer`.

    Source: Liu et al. 2021, "Towards Impartial Multi-task Learning", eq. 5 and 6 (not at hand; checked against two
    implementations); the form for dependent gradients is that of Quinton & Rey 2024. `imtl_l` is the other half of the paper.
    Differs: weights sum to k, not 1. Where `Σ v` is negative the published d points against every task; here it is turned
    round.

    Args:
        tasks: Names of the k tasks.
        measure: Where gradients are compared: a name in `MEASURES`, a table of its options, or a `Measure`.
        every: Steps from one measurement to the next; between them the last weights are used.

    Example:
        >>> import torch
        >>> x = torch.nn.Parameter(torch.ones(2))
        >>> _ = IMTLG(["click", "buy"]).backward({"click": 3 * x[0], "buy": x[1]}, shared=[x])
        >>> x.grad
        tensor([1.5000, 1.5000])
    """

    def weigh(self, measured: Measured, losses: Float[Tensor, " m"], names: tuple[str, ...]) -> Float[Tensor, " m"]:  # noqa: ARG002
        """`k v / |Σ v|`."""
        gramian = measured.gramian
        weights = equal_projection_weights(gramian)
        gain = gramian.diagonal().clamp_min(0.0).sqrt() @ gramian @ weights  # |P sqrt(diag G)|² / Σ v: it has the sign of Σ v
        return len(names) * weights * (1.0 - 2.0 * (gain < 0))
