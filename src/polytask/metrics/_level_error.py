"""How many levels a prediction is off."""

import numpy as np
from jaxtyping import Float, Int

from polytask.metrics._base import mean


def level_error(
    label: Float[np.ndarray, " n"], prediction: Float[np.ndarray, "n c"], weight: Float[np.ndarray, " n"] | None = None
) -> float:
    """Mean number of levels between the label and the median of the predicted distribution (which minimises it).

    Args:
        label: Place of the level.
        prediction: Probability of each level.
        weight: Weight of each row.

    Example:
        >>> level_error(np.array([2.0, 0.0]), np.array([[0.6, 0.2, 0.2], [0.6, 0.2, 0.2]]))
        1.0
    """
    return mean(np.abs(median_level(prediction) - label).astype(np.float64), weight)


def median_level(prediction: Float[np.ndarray, "n c"]) -> Int[np.ndarray, " n"]:
    """First level at or below which lies half of the probability."""
    below = np.cumsum(prediction.astype(np.float64), axis=1)
    return np.asarray((below < below[:, -1:] / 2).sum(axis=1))
