"""The min-norm weights of a direction that is held near the mean gradient."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polytask.balancers._double_sampling import DoubleSamplingBalancer
from polytask.balancers._given import check_not_negative, check_positive
from polytask.balancers._remembering import FIXED_SKETCH
from polytask.balancers._shares import on_simplex
from polytask.balancers.measures import Measure
from polytask.errors import ConfigError, message

_MOMENTUM = 0.5  # of the inner steps, as in the official code


@final
class SDMGrad(DoubleSamplingBalancer):
    """Stochastic direction-oriented multi-objective gradient: between the direction of least norm and the mean gradient.

    `min_u |Σ_k (u_k + λ/m) g_k|²` over the simplex by steps `u ← Π(u - η A (u + λ/m))`; `w = m (u + λ/m) / (1 + λ)`

    `A_ij = <g_i(ξ), g_j(ξ')> / s` of two batches. `λ = 0` is MoDo without ρ; with `λ → ∞` it is the plain sum.

    Prefer it over MGDA and MoDo where the mean of all tasks matters and the worst-off shall not be left behind. Not with `lr`
    times `iterations` above about 1 and small batches: then the weights follow the noise of one pair of batches.

    Cost: that of the measure in each step, and k vectors of its features.

    Source: Xiao, Ban & Ji 2023, "Direction-oriented Multi-objective Learning: Simple and Provable Stochastic Algorithms",
    algorithm 1 (checked against two implementations made from the official code; the text was not at hand).
    Differs: m times the paper's direction, so that a task alone trains as without a balancer. The two samples are today's batch
    and the one before; the weights of a step were made by the steps before it, so each batch serves as all three samples of the
    paper in turn. `s` is the square of the gradients' mean length over both batches, where the official code takes it from the
    diagonal of A and adds 1e-8: with noisy or small gradients that is no scale any more. One small inner step a pair of batches,
    as in the paper's algorithm, where the official code takes 20 of rate 10. What belongs to one task keeps that task's own
    gradient.

    Args:
        tasks: Names of the k tasks.
        measure: Where gradients are compared: one whose features can be kept.
        pull: λ, how much the direction is drawn to the mean gradient.
        lr: Rate η of the inner steps.
        iterations: Inner steps a step, with momentum 0.5 among them.

    Raises:
        ConfigError: If the measure cannot be kept from step to step, `lr` is not above 0, `pull` is negative or `iterations`
            is below 1.

    Example:
        >>> import torch
        >>> balancer, x = SDMGrad(["click", "buy"], measure="parameters", lr=0.5), torch.nn.Parameter(torch.ones(2))
        >>> for _ in range(3):
        ...     balance = balancer.backward({"click": 3 * x[0] + x[1], "buy": x[1] + 0}, shared=[x])
        >>> {name: round(weight.item(), 3) for name, weight in balance.weights.items()}
        {'click': 0.481, 'buy': 1.519}
    """

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        measure: str | Mapping[str, Any] | Measure = FIXED_SKETCH,
        pull: float = 0.3,
        lr: float = 0.1,
        iterations: int = 1,
    ) -> None:
        super().__init__(tasks, measure=measure)
        check_positive(lr=lr)
        check_not_negative(pull=pull)
        if iterations < 1:
            raise ConfigError(message("Inner steps are at least 1.", received=iterations))
        self.pull, self.lr, self.iterations = pull, lr, iterations

    def improve(self, shares: Float[Tensor, " m"], cross: Float[Tensor, "m m"], among: Bool[Tensor, " m"]) -> Float[Tensor, " m"]:
        """Some projected steps."""
        shares = shares.to(cross.dtype)
        velocity = torch.zeros_like(shares)
        to_mean = self.pull * among / among.sum().clamp_min(1)
        for _ in range(self.iterations):
            velocity = _MOMENTUM * velocity + cross @ (shares + to_mean)
            shares = on_simplex(shares - self.lr * velocity, among)
        return shares

    def counted(self, shares: Float[Tensor, " m"], among: Bool[Tensor, " m"]) -> Float[Tensor, " m"]:
        """Shares, drawn to equal ones."""
        return (shares + self.pull * among / among.sum().clamp_min(1)) / (1 + self.pull)
