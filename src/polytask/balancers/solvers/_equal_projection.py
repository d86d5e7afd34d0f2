"""Weights with which the direction has the same projection onto every gradient."""

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balancers.solvers._unit import Unit, may_wait, relative_price, solved, spectrum, unit


def equal_projection_weights(gramian: Float[Tensor, "*s k k"]) -> Float[Tensor, "*s k"]:
    """`v = pinv(G) sqrt(diag G)`, `a = v / sum v`: IMTL-G. Weights may be negative.

    With linearly independent gradients `<g_i, d> / ||g_i||` is the same for all i. Whether they are is asked of the cosines, so
    that gradients of very different lengths count as independent; dependent ones have the pseudoinverse of G itself, over its
    numerical rank (`k ε` of the input's type). Multiplied by a number the Gramian has the same weights.

    Where `v` is zero (zero Gramian, exactly opposite gradients of the same length) all weights are 1 / k, and d is then zero by
    itself. Where only its sum is zero, no weights of sum 1 exist: then `v / sum |v|`.

    Cost: one eigendecomposition of size k, two where gradients are dependent.

    Source: Liu et al. 2021, "Towards Impartial Multi-task Learning", eq. 5 and 6, in the form for dependent gradients of
    Quinton & Rey 2024, "Jacobian Descent for Multi-Objective Optimization", appendix B (both from memory).

    Args:
        gramian: Inner products of the task gradients, of replicas.
    """
    lengths = unit(gramian)
    there = (lengths.norms > 0).to(lengths.norms.dtype)
    along = solved(lengths.cosines, there)
    v = _by_rank(lengths, there, gramian.dtype) if along is None else lengths.inverse * along
    total, size = v.sum(-1, keepdim=True), v.abs().sum(-1, keepdim=True)
    rounding = v.shape[-1] * torch.finfo(gramian.dtype).eps
    weights = v / torch.where(total.abs() > rounding * size, total, size)
    return torch.where(size == 0, 1 / v.shape[-1], weights).to(gramian.dtype)


def _by_rank(lengths: Unit, there: Tensor, precision: torch.dtype) -> Tensor:
    """`C^-1 1` of the cosines where they have full rank, the pseudoinverse of G where not; 0 where that is rounding."""
    values, vectors, kept = spectrum(lengths.cosines, precision)
    independent = kept.all(-1, keepdim=True)
    v = relative_price(lengths.norms, lengths.inverse) * _applied(values, vectors, there)
    if not (may_wait(v) and bool(independent.all())):
        v = torch.where(independent, v, _pseudoinverse(lengths, precision))
    some = v.abs().sum(-1, keepdim=True) > v.shape[-1] * torch.finfo(precision).eps
    return v * some + 0.0 * lengths.norms  # what is not finite stays so


def _pseudoinverse(lengths: Unit, precision: torch.dtype) -> Tensor:
    """`pinv(G) sqrt(diag G)`, with the greatest length as the unit."""
    top = lengths.norms.amax(-1, keepdim=True)
    norms = lengths.norms / torch.where(top == 0, 1.0, top)
    values, vectors, kept = spectrum(lengths.cosines * norms.unsqueeze(-1) * norms.unsqueeze(-2), precision)
    return _applied(torch.where(kept, values, torch.inf), vectors, norms)


def _applied(values: Tensor, vectors: Tensor, to: Tensor) -> Tensor:
    """`V diag(1 / values) V'` times a vector."""
    along = (vectors.mT @ to.unsqueeze(-1)) / values.unsqueeze(-1)
    return (vectors @ along).squeeze(-1)
