"""Weights in equilibrium with what they do: `G a = a^(-1 / alpha)`."""

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balancers.solvers._unit import may_wait, positive, unit

_ITERATIONS = 60  # 5 to 15 are needed
_DEVICE_ITERATIONS = 30  # where nothing may wait for the device
_EXACT = 1e-9  # relative step after which nothing is left to gain: the error is its square
_NEAR = 1e-2  # relative step below which each one is the square of the last, until it is rounding
_DAMPED = 0.3  # relative step from which on it is shortened


def nash_weights(gramian: Float[Tensor, "*s k k"]) -> Float[Tensor, "*s k"]:
    """`G a = 1 / a`, `a > 0`: `power_weights` with `alpha = 1`, the bargaining solution of Nash-MTL.

    Source: Navon et al. 2022, "Multi-Task Learning as a Bargaining Game", claim 3.1 (from memory).
    Differs: solved exactly and by itself, where the paper and its code stop after 20 convex problems from the last solution.

    Args:
        gramian: Inner products of the task gradients, of replicas.
    """
    return power_weights(gramian, 1.0)


def power_weights(gramian: Float[Tensor, "*s k k"], alpha: float) -> Float[Tensor, "*s k"]:
    """`G a = a^(-1 / alpha)`, `a > 0`: FairGrad; the gain of each task, `<g_i, d>`, is its weight to the power -1 / alpha.

    That is the one zero of the gradient of the convex function `a' G a / 2 - sum_i a_i^(1 - 1/alpha) / (1 - 1/alpha)` (the
    logarithm where alpha is 1). Multiplied by s the Gramian has the weights times `s^(-alpha / (1 + alpha))`.

    A task whose gradient is zero can gain nothing: the equation has no solution for it, its weight is 0 and it holds for the
    others. Where some combination of the gradients with weights of 0 or more is zero there is no solution either: then the
    weights are large, those of the Gramian with `4 k ε` of float64 added to its diagonal (relative to it), and the sum of the
    gradients with these weights is small against its terms. In a Gramian with float32 rounding that is as much as its least
    eigenvalue lacks to 0.

    Cost: 5 to 15 Cholesky factorisations of size k; more with an alpha far from 1 and lengths that are far apart.

    Source: Ban & Ji 2024, "Fair Resource Allocation in Multi-Task Learning", eq. 4 and its solution (from memory).
    Differs: damped Newton steps on the convex function, where the official code minimises squared residuals within bounds.

    Args:
        gramian: Inner products of the task gradients, of replicas.
        alpha: Greater than 0; 1 is Nash-MTL, towards infinity all tasks gain the same.
    """
    power = 1.0 / alpha
    lengths = unit(gramian)
    norms = lengths.norms
    top = norms.amax(-1, keepdim=True)
    relative = norms / torch.where(top == 0, 1.0, top)
    zero = norms == 0
    price = torch.where(zero, 1.0, relative) ** (power - 1.0)
    x = _equilibrium(positive(lengths.cosines), price, power)
    weights = torch.where(zero, 0.0, x / relative * top ** (-2.0 / (1.0 + power)))
    return weights.to(gramian.dtype)


def _equilibrium(matrix: Float[Tensor, "*s k k"], price: Float[Tensor, "*s k"], power: float) -> Float[Tensor, "*s k"]:
    """`matrix x = price x^-power` by a damped Newton method on the convex function of which that is the gradient."""
    x = price ** (1.0 / (1.0 + power))
    x = x * ((x * x).sum(-1, keepdim=True) / (x * _times(matrix, x)).sum(-1, keepdim=True)) ** (1.0 / (1.0 + power))
    before = torch.full_like(x[..., :1], torch.inf)
    for _ in range(_ITERATIONS if may_wait(x) else _DEVICE_ITERATIONS):
        worth = price * x ** (1.0 - power)
        curve = matrix * x.unsqueeze(-1) * x.unsqueeze(-2)
        right = worth - curve.sum(-1)
        curve.diagonal(dim1=-2, dim2=-1).add_(power * worth)
        step = torch.cholesky_solve(right.unsqueeze(-1), torch.linalg.cholesky_ex(curve).L).squeeze(-1)
        longest = step.abs().amax(-1, keepdim=True)
        x = x * (1.0 + step / torch.where(longest > _DAMPED, 1.0 + longest, 1.0))
        arrived = (longest < _EXACT) | ((longest < _NEAR) & (longest > 0.5 * before))
        if may_wait(x) and bool(arrived.all()):
            break
        before = longest
    return x


def _times(matrix: Tensor, x: Tensor) -> Tensor:
    return (matrix @ x.unsqueeze(-1)).squeeze(-1)
