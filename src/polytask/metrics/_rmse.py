"""Root of the mean squared error."""

import math

import numpy as np
from jaxtyping import Float

from polytask.metrics._base import Undefined, mean


def rmse(
    label: Float[np.ndarray, " n"], prediction: Float[np.ndarray, " n"], weight: Float[np.ndarray, " n"] | None = None
) -> float:
    """Root of the mean squared error, in the label's units.

    Args:
        label: Label on its own scale.
        prediction: Estimate of the mean.
        weight: Weight of each row.

    Example:
        >>> rmse(np.array([0.0, 0.0]), np.array([3.0, -3.0]))
        3.0
    """
    squared = mean(np.square(prediction.astype(np.float64) - label), weight)
    return squared if isinstance(squared, Undefined) else math.sqrt(squared)
