"""The min-norm weights, found by steps on independent samples."""

from collections.abc import Mapping, Sequence
from typing import Any, final

from jaxtyping import Bool, Float
from torch import Tensor

from polytask.balancers._double_sampling import DoubleSamplingBalancer
from polytask.balancers._given import check_not_negative, check_positive
from polytask.balancers._remembering import FIXED_SKETCH
from polytask.balancers._shares import on_simplex
from polytask.balancers.measures import Measure


@final
class MoDo(DoubleSamplingBalancer):
    """Multi-objective gradient with double sampling: MGDA whose weights take one small step each time, free of noise's bias.

    `λ ← Π(λ - γ (A λ + ρ λ))` on the simplex, `A_ij = <g_i(ξ), g_j(ξ')> / s` of two batches; `w_k = m λ_k`

    The Gramian of one batch holds the variance of the batch on its diagonal, so MGDA on it flees noisy tasks and not only large
    ones. The product of two batches does not.

    Prefer it over MGDA with small batches: weights move slowly and towards those of the expected gradients. Not where one task
    has far smaller gradients than the others and should not lead: the least norm is near it, as in every method of this kind.

    Cost: that of the measure in each step, and k vectors of its features.

    Source: Chen et al. 2023, "Three-Way Trade-Off in Multi-Objective Learning: Optimization, Generalization and
    Conflict-Avoidance", algorithm 1 (checked against an implementation made from the official code; the text was not at hand).
    Differs: m times the paper's direction, so that a task alone trains as without a balancer. The two samples are today's batch
    and the one before, not two of one step: parameters have moved by one step in between. The weights of a step were made by the
    steps before it; so each batch serves as all three samples of the paper in turn and none is drawn for weights alone. A is
    divided by `s`, the square of the gradients' mean length: γ and ρ have no unit (with gradients of length 1 it is the paper's).
    What belongs to one task keeps that task's own gradient.

    Args:
        tasks: Names of the k tasks.
        measure: Where gradients are compared: one whose features can be kept.
        gamma: Rate of the weights.
        rho: Pull of the weights towards equal ones.

    Raises:
        ConfigError: If the measure cannot be kept from step to step, `gamma` is not above 0 or `rho` is negative.

    Example:
        >>> import torch
        >>> balancer, x = MoDo(["click", "buy"], measure="parameters", gamma=0.5), torch.nn.Parameter(torch.ones(2))
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
        gamma: float = 0.1,
        rho: float = 0.0,
    ) -> None:
        super().__init__(tasks, measure=measure)
        check_positive(gamma=gamma)
        check_not_negative(rho=rho)
        self.gamma, self.rho = gamma, rho

    def improve(self, shares: Float[Tensor, " m"], cross: Float[Tensor, "m m"], among: Bool[Tensor, " m"]) -> Float[Tensor, " m"]:
        """One projected step."""
        shares = shares.to(cross.dtype)
        return on_simplex(shares - self.gamma * (cross @ shares + self.rho * shares), among)

    def counted(self, shares: Float[Tensor, " m"], among: Bool[Tensor, " m"]) -> Float[Tensor, " m"]:  # noqa: ARG002
        """The shares themselves."""
        return shares
