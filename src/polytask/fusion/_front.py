"""What several objectives leave to choose from."""

import numpy as np
from jaxtyping import Bool, Float


def non_dominated(values: Float[np.ndarray, "t m"]) -> Bool[np.ndarray, " t"]:
    """Which of some points no other is at least as good as everywhere and better somewhere; greater is better.

    Example:
        >>> non_dominated(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 0.5], [1.0, 0.0]])).tolist()
        [True, True, False, True]
    """
    keep = np.ones(len(values), bool)
    for row, value in enumerate(values):  # one comparison with all points a trial: trials are some hundreds
        keep[row] = not ((values >= value).all(axis=1) & (values > value).any(axis=1)).any()
    return keep


def compromise(values: Float[np.ndarray, "t m"]) -> int:
    """The point nearest to the best of every objective, each on the scale of its range among these points.

    Example:
        >>> compromise(np.array([[1.0, 0.0], [0.8, 70.0], [0.0, 100.0]]))
        1
    """
    best, worst = values.max(axis=0), values.min(axis=0)
    short = (best - values) / np.where(best > worst, best - worst, 1.0)
    return int((short**2).sum(axis=1).argmin())
