"""Squared error of predicted probabilities."""

import numpy as np
from jaxtyping import Float

from polytask.metrics._base import mean


def brier(
    label: Float[np.ndarray, " n"], prediction: Float[np.ndarray, " n"], weight: Float[np.ndarray, " n"] | None = None
) -> float:
    """Mean squared distance of the predicted probability from the 0/1 label.

    Proper as log loss is, and bounded: a single confident mistake costs at most 1.

    Source: Brier, Verification of Forecasts Expressed in Terms of Probability (Monthly Weather Review 1950).
    Differs: one term a row, not one for each of both classes, so half of Brier's.

    Args:
        label: 0 or 1.
        prediction: Probability of 1.
        weight: Weight of each row.

    Example:
        >>> brier(np.array([1.0, 0.0]), np.array([0.5, 0.0]))
        0.125
    """
    return mean(np.square(prediction.astype(np.float64) - label), weight)
