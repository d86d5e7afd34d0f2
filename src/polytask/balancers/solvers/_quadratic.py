"""Convex quadratic problems of nonnegative variables, exactly: an exchange of sets where that settles, else an interior point."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polytask.balancers.solvers._exchange import Quadratic, exchange
from polytask.balancers.solvers._interior import interior_point
from polytask.balancers.solvers._unit import may_wait

_ROUNDS = 5  # of all problems together: most have settled by then
_MORE_ROUNDS = 12  # of the others; what has not settled by then mostly never does
_AT_ONCE = 2**19  # numbers in the matrices that are factorised at once on the CPU: with 128 tasks, a third of the time of all


def minimum(problem: Quadratic, free: Bool[Tensor, "b m k"] | None = None) -> Float[Tensor, "b m k"]:
    """The point at which the problem is least.

    Args:
        problem: What is minimised.
        free: Variables that are thought to be above 0 at the minimum; a good guess saves time.
    """
    if not may_wait(problem.offset):
        return _interior(problem)
    free = problem.offset < 0 if free is None else free
    count = max(1, _AT_ONCE // problem.matrix.numel())
    if problem.price is not None or count >= free.shape[1]:
        return _exchanged(problem, free)
    parts = zip(torch.split(problem.offset, count, 1), torch.split(free, count, 1), strict=True)
    return torch.cat([_exchanged(Quadratic(problem.matrix, offset), begin) for offset, begin in parts], 1)


def _exchanged(problem: Quadratic, free: Bool[Tensor, "b m k"]) -> Tensor:
    """First rounds for all problems, then those that did not settle by themselves."""
    x, done, free = exchange(problem, free, rounds=_ROUNDS)
    if not bool(done.all()):
        for part in torch.split((~done).nonzero(), max(1, _AT_ONCE // problem.matrix.shape[-1] ** 2)):
            at = part[:, 0], part[:, 1]
            x[at] = _hard(_picked(problem, at), free[at].unsqueeze(1)).squeeze(1)
    return x


def _picked(problem: Quadratic, at: tuple[Tensor, Tensor]) -> Quadratic:
    """Some of the problems, each with a matrix of its own."""
    price = None if problem.price is None else problem.price[at].unsqueeze(1)
    return Quadratic(problem.matrix[at[0]], problem.offset[at].unsqueeze(1), price)


def _hard(problem: Quadratic, free: Bool[Tensor, "b 1 k"]) -> Tensor:
    """More rounds for problems that did not settle, and an interior point for those that still do not."""
    x, done, _ = exchange(problem, free, rounds=_MORE_ROUNDS)
    if not bool(done.all()):
        left = (~done).nonzero()
        at = left[:, 0], left[:, 1]
        x[at] = _interior(_picked(problem, at)).squeeze(1)
    return x


def _interior(problem: Quadratic) -> Tensor:
    """An interior point, then a last exchange from the set that it found."""
    matrix, offset, price = problem
    size = offset.abs().amax(-1, keepdim=True)
    size = torch.where(size > 0, size, 1.0) if price is None else torch.ones_like(size)
    slope = offset / size
    x, slack = interior_point(matrix.unsqueeze(1), slope, price)
    exact, done, _ = exchange(Quadratic(matrix, slope, price), x > slack, rounds=2)
    return size * torch.where(done.unsqueeze(-1), exact, x)
