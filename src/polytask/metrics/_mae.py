"""Mean absolute error."""

import numpy as np
from jaxtyping import Float

from polytask.metrics._base import mean


def mae(
    label: Float[np.ndarray, " n"], prediction: Float[np.ndarray, " n"], weight: Float[np.ndarray, " n"] | None = None
) -> float:
    """Mean absolute error, in the label's units; the median minimises it, not the mean.

    Args:
        label: Label on its own scale.
        prediction: Estimate.
        weight: Weight of each row.

    Example:
        >>> mae(np.array([0.0, 0.0]), np.array([1.0, -3.0]))
        2.0
    """
    return mean(np.abs(prediction.astype(np.float64) - label), weight)
