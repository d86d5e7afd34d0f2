"""A primal-dual interior point method for convex quadratic problems of nonnegative variables, batched."""

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.balancers.solvers._unit import may_wait

_ITERATIONS = 30  # 7 to 20 are needed; where nothing may wait for the device, all are run
_GAP = 1e-17  # mean product of a variable and its slack, both of the order of 1
_RESIDUAL = 1e-13
_TO_BOUNDARY = 0.9995  # part of the way to the nearest bound, as usual for Mehrotra's method


def interior_point(
    matrix: Float[Tensor, "b #m k k"], offset: Float[Tensor, "b m k"], price: Float[Tensor, "b m k"] | None = None
) -> tuple[Float[Tensor, "b m k"], Float[Tensor, "b m k"]]:
    """`argmin x' matrix x / 2 + offset . x` over `x >= 0`, and with a price over those with `price . x = 1`.

    Mehrotra's predictor and corrector: both linear systems of an iteration share one Cholesky factor. The numbers should be of
    the order of 1. A problem that has arrived stays where it is while others of its batch go on.

    Source: Mehrotra 1992, "On the Implementation of a Primal-Dual Interior Point Method"; Nocedal & Wright 2006, "Numerical
    Optimization", algorithm 16.4 (both from memory).

    Returns:
        The minimum, and the slack of each variable: of the two, one is almost 0.
    """
    x, slack, level = torch.ones_like(offset), torch.ones_like(offset), None
    if price is not None:
        x = x / price.sum(-1, keepdim=True)
        level = (x * (_times(matrix, x) + offset)).sum(-1, keepdim=True)
    for _ in range(_ITERATIONS):
        residual = _times(matrix, x) + offset - slack
        if price is not None and level is not None:
            residual = residual - level * price
        gap = (x * slack).mean(-1, keepdim=True)
        going = (gap > _GAP) | (residual.abs().amax(-1, keepdim=True) > _RESIDUAL)
        if may_wait(gap) and not bool(going.any()):
            break
        factor = torch.linalg.cholesky_ex(matrix + torch.diag_embed(slack / x)).L
        across = None if price is None else _solve(factor, price)
        move, _ = _newton(factor, -residual - slack, price, across)
        slide = -slack - slack / x * move
        reach = _reach(x, slack, move, slide).clamp_max(1.0)
        ahead = ((x + reach * move) * (slack + reach * slide)).mean(-1, keepdim=True)
        target = (ahead / gap) ** 3 * gap - move * slide
        move, rise = _newton(factor, -residual - slack + target / x, price, across)
        slide = -slack + (target - slack * move) / x
        reach = (_TO_BOUNDARY * _reach(x, slack, move, slide)).clamp_max(1.0) * going
        x, slack = x + reach * move, slack + reach * slide
        level = None if level is None else level + reach * rise
    return x, slack


def _newton(factor: Tensor, right: Tensor, price: Tensor | None, across: Tensor | None) -> tuple[Tensor, Tensor]:
    """Step of the variables and of the multiplier of the price."""
    move = _solve(factor, right)
    if price is None or across is None:
        return move, move[..., :1]
    rise = -(price * move).sum(-1, keepdim=True) / (price * across).sum(-1, keepdim=True)
    return move + rise * across, rise


def _times(matrix: Tensor, x: Tensor) -> Tensor:
    return (matrix @ x.unsqueeze(-1)).squeeze(-1)


def _solve(factor: Tensor, right: Tensor) -> Tensor:
    return torch.cholesky_solve(right.unsqueeze(-1), factor).squeeze(-1)


def _reach(x: Tensor, slack: Tensor, move: Tensor, slide: Tensor) -> Tensor:
    """How far a step can go until a variable or a slack is 0; never more than a thousand steps."""
    return 1.0 / torch.maximum(-move / x, -slide / slack).amax(-1, keepdim=True).clamp_min(1e-3)
