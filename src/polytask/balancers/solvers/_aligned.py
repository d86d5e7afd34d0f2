"""Weights with which the principal directions of the gradients count the same."""

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balancers.solvers._unit import spectrum, unit


def aligned_weights(gramian: Float[Tensor, "*s k k"]) -> Float[Tensor, "*s k"]:
    """`w = B 1` with `B = sqrt(l_min) V L^(-1/2) V'` and `G = V L V'`, over the numerical rank: Aligned-MTL.

    `B J` has all singular values equal to the least one of J that is not zero. Orthogonal gradients of one length have weights
    of 1. Multiplied by a number the Gramian has the same weights. Eigenvalues below `k ε` of the greatest (ε of the input's
    type) count as zero, and so do gradients that are nothing but such directions. Zero Gramian: 1.

    Cost: one eigendecomposition of size k.

    Source: Senushkin et al. 2023, "Independent Component Alignment for Multi-Task Learning", eq. 10 and algorithm 1 (from
    memory).

    Args:
        gramian: Inner products of the task gradients, of replicas.
    """
    lengths = unit(gramian)
    top = lengths.norms.amax(-1, keepdim=True)
    norms = lengths.norms / torch.where(top == 0, 1.0, top)
    values, vectors, kept = spectrum(lengths.cosines * norms.unsqueeze(-1) * norms.unsqueeze(-2), gramian.dtype)
    least = values.masked_fill(~kept, torch.inf).amin(-1, keepdim=True)
    shrink = torch.where(kept, (least / values).sqrt(), 0.0)
    weights = (vectors @ (shrink * vectors.sum(-2)).unsqueeze(-1)).squeeze(-1)
    return torch.where(top == 0, 1.0, weights + 0.0 * top).to(gramian.dtype)
