"""The direction near the mean gradient that helps the worst-off task most."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polytask.balancers.solvers._exchange import Quadratic, minimum_on_face
from polytask.balancers.solvers._min_norm import simplex_problem
from polytask.balancers.solvers._quadratic import minimum
from polytask.balancers.solvers._unit import may_wait, positive, relative_price, unit

_ITERATIONS = 60  # 2 to 6 are needed; as many halvings of the logarithm as float64 can tell apart
_DEVICE_ITERATIONS = 10  # where nothing may wait for the device
_EXACT = 1e-12  # relative error of the length of the added part
_ROUNDING = 4 * torch.finfo(torch.float64).eps
_STATIONARY = 64 * torch.finfo(torch.float64).eps  # squared length, times k: a convex combination that is zero up to rounding


def conflict_averse_weights(gramian: Float[Tensor, "*s k k"], c: float) -> Float[Tensor, "*s k"]:
    """Weights `1 / k + c ||g_0|| / ||g_w|| w` of CAGrad, without its factor `1 / (1 + c²)`; g_0 is the mean gradient.

    `w = argmin <g_w, g_0> + c ||g_0|| ||g_w||` over the simplex, and `d = g_0 + c ||g_0|| / ||g_w|| g_w` is the sum of the
    gradients with these weights: of all d with `||d - g_0|| <= c ||g_0||` the one with the greatest `min_i <g_i, d>`.

    Multiplied by a number the Gramian has the same weights. Where some convex combination of the gradients is zero and the ball
    reaches the cone of directions that harm no task, no d in the ball gains all tasks anything: d is then the mean gradient
    projected onto that cone. A task whose gradient is zero gains nothing from any d: its w is 0. Zero Gramian, zero mean
    gradient or `c = 0`: 1 / k.

    Cost: 4 to 9 quadratic problems of size k.

    Source: Liu et al. 2021, "Conflict-Averse Gradient Descent for Multi-task Learning", eq. 4 and algorithm 1 (from memory).
    Differs: solved as `min over t of min over w of (||g_w||² / t + t c² ||g_0||²) / 2 + <g_w, g_0>`, of which the inner problem
    is quadratic and the outer has a closed form between two changes of the set of tasks with w > 0.

    Args:
        gramian: Inner products of the task gradients, of replicas.
        c: Radius of the ball around the mean gradient, as a multiple of its length; 0 or more.
    """
    cosines, norms, inverse = unit(gramian)
    tasks = norms.shape[-1]
    matrix = positive(cosines)
    mean = norms / tasks
    slopes = (matrix @ mean.unsqueeze(-1)).squeeze(-1)
    length = (mean * slopes).sum(-1, keepdim=True).sqrt()
    slopes = torch.where(length == 0, 0.0, slopes / length).masked_fill(norms == 0, 1.0)  # nothing to gain: never chosen
    problem = simplex_problem(matrix, slopes, relative_price(norms, inverse))
    added = _added(problem, c).view(norms.shape)
    return (1 / tasks + length * added * inverse).to(gramian.dtype)


def _added(problem: Quadratic, c: float) -> Float[Tensor, "b 1 k"]:
    """What is added to the mean gradient, as weights of gradients of length 1; the mean gradient has length 1."""
    matrix, offset, _ = problem
    if c == 0:
        return torch.zeros_like(offset)
    nearest = minimum(problem._replace(offset=torch.zeros_like(offset)), torch.ones_like(offset, dtype=torch.bool))
    size = _length(matrix, nearest)
    stationary = size**2 <= offset.shape[-1] * _STATIONARY * nearest.sum(-1, keepdim=True) ** 2
    if may_wait(size) and not stationary.any():
        return _on_sphere(problem, c, nearest, stationary)
    near = minimum(Quadratic(matrix, offset))  # to the projection onto the cone
    stuck = stationary & (_length(matrix, near) <= c)
    return torch.where(stuck, near, _on_sphere(problem, c, nearest, stuck))


def _on_sphere(problem: Quadratic, c: float, nearest: Tensor, stuck: Bool[Tensor, "b 1 1"]) -> Tensor:
    """`x(t) / t` of length c, with `x(t)` the minimum of `||x||² / 2 + t offset . x`: its length falls as t grows."""
    matrix, offset, price = problem
    low = t = _length(matrix, nearest) / c
    longest = 1.0 if price is None else 1.0 / price.masked_fill(price == 0, 1.0).amin(-1, keepdim=True)
    high, free = torch.ones_like(low) * longest / c, nearest > 0
    for _ in range(_ITERATIONS if may_wait(t) else _DEVICE_ITERATIONS):
        small = t.clamp_max(1.0)  # x and t are divided by t where it is above 1: then all numbers are of the order of 1
        x = minimum(Quadratic(matrix, small * offset, None if price is None else t.clamp_min(1.0) * price), free)
        free, size = x > 0, _length(matrix, x)
        bound = _EXACT * size + _ROUNDING * x.sum(-1, keepdim=True) ** 2 / size
        if may_wait(t) and bool((stuck | ((size - c * small).abs() <= bound)).all()):
            break
        low, high = torch.where(size > c * small, t, low), torch.where(size > c * small, high, t)
        t = _next(problem, c, free, low, high)
    return x / small


def _next(problem: Quadratic, c: float, free: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """The solution if the set of positive variables is right, where it lies in the bracket; else the middle of the bracket."""
    base, _ = minimum_on_face(problem._replace(offset=torch.zeros_like(problem.offset)), free)
    change = minimum_on_face(problem, free)[0] - base  # orthogonal to `base`, so ||base + t change|| = c t is linear in t²
    t = _length(problem.matrix, base) / (c * c - _length(problem.matrix, change) ** 2).sqrt()
    return torch.where((t >= low) & (t <= high), t, (low * high).sqrt())


def _length(matrix: Tensor, x: Tensor) -> Tensor:
    return (x * (x @ matrix)).sum(-1, keepdim=True).clamp_min(0.0).sqrt()
