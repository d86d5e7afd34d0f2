"""The Gramian split into lengths and cosines: every solver works on cosines, so no scale of a task or of all of them matters."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

_ROUNDING = 4 * torch.finfo(torch.float64).eps
_FAR = 0.03  # pivot, the sine of a gradient with those before it: the least eigenvalue is then far above rounding in float32


class Unit(NamedTuple):
    """Lengths and angles of the task gradients, in float64.

    Args:
        cosines: Inner products of the gradients divided by their lengths; a zero gradient is orthogonal to all others.
        norms: Lengths of the gradients.
        inverse: One over the lengths, 0 for a zero gradient.
    """

    cosines: Float[Tensor, "*s k k"]
    norms: Float[Tensor, "*s k"]
    inverse: Float[Tensor, "*s k"]


def unit(gramian: Float[Tensor, "*s k k"]) -> Unit:
    """Takes a Gramian apart. What is not finite stays so in `norms`, and from there reaches the weights."""
    gramian = gramian.detach().double()
    norms = gramian.diagonal(0, -2, -1).sqrt()
    inverse = norms.reciprocal()
    inverse.masked_fill_(norms == 0, 0.0)
    cosines = gramian * inverse.unsqueeze(-1) * inverse.unsqueeze(-2)
    cosines.diagonal(0, -2, -1).fill_(1.0)
    return Unit(cosines, norms, inverse)


def positive(cosines: Float[Tensor, "*s k k"]) -> Float[Tensor, "*s k k"]:
    """Adds the least multiple of the identity that makes rounded cosines positive definite.

    It is `4 k ε` of float64 for a Gramian that is positive semidefinite up to rounding in float64. A Gramian that was summed in
    float32 can have eigenvalues of -1e-7, and a quadratic problem on it no solution: then it is as much as the least eigenvalue
    lacks.
    """
    lifted = cosines.clone()
    lifted.diagonal(0, -2, -1).add_(cosines.shape[-1] * _ROUNDING)
    if may_wait(lifted) and not bool(torch.linalg.cholesky_ex(lifted).info.any()):
        return lifted
    least = torch.linalg.eigvalsh(torch.nan_to_num(cosines))[..., :1]
    lifted.diagonal(0, -2, -1).sub_(1.01 * least.clamp_max(0.0))
    return lifted


def relative_price(norms: Float[Tensor, "*s k"], inverse: Float[Tensor, "*s k"]) -> Float[Tensor, "*s k"]:
    """Share of the simplex that one unit of length of each gradient takes, relative to the shortest that is not zero.

    A zero gradient takes nothing, and 1 where all are zero.
    """
    return torch.where(norms.amax(-1, keepdim=True) == 0, 1.0, inverse / inverse.amax(-1, keepdim=True))


def may_wait(tensor: Tensor) -> bool:
    """Whether Python may look at the values of a tensor. Only on the CPU: on a device the answer would have to be waited for."""
    return tensor.device.type == "cpu"


def solved(cosines: Float[Tensor, "*s k k"], right: Float[Tensor, "*s k"]) -> Float[Tensor, "*s k"] | None:
    """The inverse of the cosines times a vector where they are far from singular, else None: a shortcut past the spectrum.

    None too where it would have to be waited for whether they are.
    """
    if not may_wait(cosines):
        return None
    factor, info = torch.linalg.cholesky_ex(cosines)
    if bool(info.any()) or float(factor.diagonal(0, -2, -1).amin()) < _FAR:
        return None
    return torch.cholesky_solve(right.unsqueeze(-1), factor).squeeze(-1)


def spectrum(matrix: Float[Tensor, "*s k k"], precision: torch.dtype) -> tuple[Tensor, Tensor, Tensor]:
    """Eigenvalues, eigenvectors, and which eigenvalues are more than rounding (`k ε` of the greatest): the numerical rank.

    Args:
        matrix: Symmetric, in float64; what is not finite counts as 0, since the routine would raise.
        precision: What the matrix was given in: its rounding sets the rank.
    """
    values, vectors = torch.linalg.eigh(torch.nan_to_num(matrix, posinf=0.0, neginf=0.0))
    return values, vectors, values > matrix.shape[-1] * torch.finfo(precision).eps * values[..., -1:].clamp_min(0.0)
