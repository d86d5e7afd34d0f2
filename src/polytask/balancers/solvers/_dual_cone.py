"""Projections of combinations of the gradients onto the cone of directions that harm no task."""

from jaxtyping import Float
from torch import Tensor

from polytask.balancers.solvers._exchange import Quadratic
from polytask.balancers.solvers._quadratic import minimum
from polytask.balancers.solvers._unit import positive, unit


def dual_cone_weights(gramian: Float[Tensor, "*s k k"], preferences: Float[Tensor, "*#s m k"]) -> Float[Tensor, "*s m k"]:
    """`argmin_v v' G v` over `v >= u`, for each row u of `preferences`.

    The sum of the gradients with weights v is the sum with weights u, projected onto the cone of all d with `<g_i, d> >= 0` for
    every i. UPGrad projects every gradient by itself, rows `e_i / k`, and sums the m weights; DualProj projects the mean
    gradient, one row of `1 / k`.

    The direction is unique. The weights are where the gradients are linearly independent; else one of all v that give it.
    Multiplied by a number the Gramian has the same weights. Zero Gramian: v = u; and so is the weight of a zero gradient.
    Exactly opposite gradients, `u = (1, 0)`: v = (1, 1) for one length, direction zero.

    Cost: m problems of size k, of 1 to 6 Cholesky factorisations each of the tasks that were raised; 7 to 20 more of size k where
    the Gramian is nearly singular and the sets do not settle.

    Source: Lopez-Paz & Ranzato 2017, "Gradient Episodic Memory for Continual Learning", eq. 11 for one row; Quinton & Rey 2024,
    "Jacobian Descent for Multi-Objective Optimization", proposition 1 (both from memory).

    Args:
        gramian: Inner products of the task gradients, of replicas.
        preferences: Rows u, m for each replica.
    """
    cosines, norms, inverse = unit(gramian)
    tasks, problems = preferences.shape[-1], preferences.shape[-2]
    lower = (preferences.detach().double() * norms.unsqueeze(-2)).reshape(-1, problems, tasks)
    matrix = positive(cosines).reshape(-1, tasks, tasks)
    above = minimum(Quadratic(matrix, lower @ matrix)).view(*norms.shape[:-1], problems, tasks)
    return (preferences + above * inverse.unsqueeze(-2)).to(gramian.dtype)
