"""Distance between predicted and observed distributions over ordered levels."""

import numpy as np
from jaxtyping import Float

from polytask.metrics._base import mean


def ranked_probability_score(
    label: Float[np.ndarray, " n"], prediction: Float[np.ndarray, "n c"], weight: Float[np.ndarray, " n"] | None = None
) -> float:
    """Mean over thresholds of the squared error of P(level <= threshold): the Brier score of ordered levels, 0 to 1.

    Proper, and a miss by two levels costs more than a miss by one.

    Source: Epstein, A Scoring System for Probability Forecasts of Ranked Categories (J. Applied Meteorology 1969).

    Args:
        label: Place of the level.
        prediction: Probability of each level.
        weight: Weight of each row.

    Example:
        >>> ranked_probability_score(np.array([2.0]), np.array([[0.0, 1.0, 0.0]]))
        0.5
    """
    below = np.cumsum(prediction.astype(np.float64), axis=1)[:, :-1]
    truth = label[:, None] <= np.arange(below.shape[1])
    return mean(np.square(below - truth).mean(axis=1), weight)
