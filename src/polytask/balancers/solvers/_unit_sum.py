"""Weights with which the direction has the same angle to every gradient."""

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balancers.solvers._unit import solved, spectrum, unit


def unit_sum_weights(gramian: Float[Tensor, "*s k k"]) -> Float[Tensor, "*s k"]:
    """`d = g_u sum_i <g_i, g_u>` as weights of the gradients; `g_u` is `pinv(U) 1` made of length 1, U gradients of length 1.

    With linearly independent gradients all cosines of d with them are the same; with dependent ones (numerical rank: `k ε` of
    the input's type) they are nearest to it. Multiplied by a number the Gramian has the same weights.

    A gradient of zero takes no part, its weight is 0. Where no direction has an angle that is better than a right one (exactly
    opposite gradients, zero Gramian) `pinv(U) 1` is zero and so are the weights.

    Cost: one eigendecomposition of size k.

    Source: Liu, Chu & Thuerey 2024, "ConFIG: Towards Conflict-free Training of Physics Informed Neural Networks", eq. 2 and 3
    (from memory).

    Args:
        gramian: Inner products of the task gradients, of replicas.
    """
    cosines, norms, inverse = unit(gramian)
    there = (norms > 0).to(norms.dtype)
    y = solved(cosines, there)
    if y is None:
        values, vectors, kept = spectrum(cosines, gramian.dtype)
        along = torch.where(kept, (vectors.mT @ there.unsqueeze(-1)).squeeze(-1) / values, 0.0)
        y = (vectors @ along.unsqueeze(-1)).squeeze(-1)
    projections = (cosines @ y.unsqueeze(-1)).squeeze(-1)  # of the direction onto gradients of length 1: 1 where independent
    length = (norms * projections).sum(-1, keepdim=True) / (y * projections).sum(-1, keepdim=True)
    found = y.abs().sum(-1, keepdim=True) > y.shape[-1] * torch.finfo(gramian.dtype).eps
    return torch.where(found, length * y * inverse, 0.0 * norms).to(gramian.dtype)
