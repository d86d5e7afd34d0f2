"""The point of the convex hull of the gradients that is nearest to zero."""

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balancers.solvers._exchange import Quadratic
from polytask.balancers.solvers._quadratic import minimum
from polytask.balancers.solvers._unit import positive, relative_price, unit


def min_norm_weights(gramian: Float[Tensor, "*s k k"]) -> Float[Tensor, "*s k"]:
    """`argmin_a a' G a` over `a >= 0` with sum 1: MGDA, the nearest point to zero of the convex hull of the gradients.

    Multiplied by a number the Gramian has the same weights. Where several a are least (equal gradients) they share alike. A zero
    gradient is the minimum itself: such tasks share the weight, and a zero Gramian has 1 / k. Exactly opposite gradients have
    the weights with which they cancel.

    Cost: 1 to 6 Cholesky factorisations of size k; 7 to 20 more where the Gramian is nearly singular and the set does not settle.

    Source: Désidéri 2012, "Multiple-gradient descent algorithm (MGDA) for multiobjective optimization", theorem 2.2 (from
    memory).
    Differs: the exact minimum, where Sener & Koltun 2018 (algorithm 2) stop a Frank-Wolfe iteration.

    Args:
        gramian: Inner products of the task gradients, of replicas.
    """
    cosines, norms, inverse = unit(gramian)
    tasks = norms.shape[-1]
    zero = norms == 0
    price = relative_price(norms, inverse)
    x = minimum(simplex_problem(positive(cosines), torch.zeros_like(price), price), torch.ones_like(zero).view(-1, 1, tasks))
    weights = x.view(price.shape) * price
    weights = torch.where(zero.any(-1, keepdim=True), zero.to(weights.dtype), weights)
    return (weights / weights.sum(-1, keepdim=True)).to(gramian.dtype)


def simplex_problem(matrix: Float[Tensor, "*s k k"], offset: Float[Tensor, "*s k"], price: Float[Tensor, "*s k"]) -> Quadratic:
    """A quadratic problem on the simplex of gradients of length 1, one of each replica."""
    tasks = price.shape[-1]
    return Quadratic(matrix.reshape(-1, tasks, tasks), offset.reshape(-1, 1, tasks), price.reshape(-1, 1, tasks))
