"""Newton's method for a convex function of one or two numbers, in float64."""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

Point = Float[np.ndarray, " p"]
Slopes = tuple[float, Point, Float[np.ndarray, "p p"]]

_MOST = 100
_ENOUGH = 1e-12
"""Newton's decrement, as a share of the function, below which nothing is left to gain in float64."""
_SUFFICIENT = 1e-4  # as in Nocedal & Wright, section 3.1
_RIDGE = 1e-12
"""Share of the trace that is added to the Hessian: predictions may all be equal, and then it is singular."""


def minimum(function: Callable[[Point], Slopes], start: Point, *, low: float = -np.inf, high: float = np.inf) -> Point:
    """Where the function is least, between two bounds that hold for every number.

    Args:
        function: Its value, gradient and Hessian.
        start: Where to begin; between the bounds.
        low: Lower bound; with two numbers there may be none.
        high: Upper bound.

    Example:
        >>> minimum(lambda x: (float(((x - 3) ** 2).sum()), 2 * (x - 3), 2 * np.eye(1)), np.array([1.0]), high=2.0).tolist()
        [2.0]
    """
    place = start
    value, gradient, hessian = function(place)
    for _ in range(_MOST):
        step = np.linalg.solve(hessian + (_RIDGE * np.trace(hessian) + np.finfo(float).tiny) * np.eye(len(place)), gradient)
        length = 1.0
        while True:
            there = np.clip(place - length * step, low, high)
            gain = float(gradient @ (place - there))
            found = function(there)
            if found[0] <= value - _SUFFICIENT * gain or length < 1e-10:
                break
            length /= 2
        place, (value, gradient, hessian) = there, found
        if gain <= _ENOUGH * max(abs(value), np.finfo(float).tiny):
            break
    return place
