"""Predicted over observed total."""

import numpy as np
from jaxtyping import Float

from polytask.metrics._base import Undefined, weights_of


def calibration_ratio(
    label: Float[np.ndarray, " n"], prediction: Float[np.ndarray, " n"], weight: Float[np.ndarray, " n"] | None = None
) -> float:
    """Sum of predictions over sum of labels: 1 is right on average, above 1 predicts too much.

    What a bidding or budgeting system watches. Errors that cancel are not seen: use `calibration_error` beside it.

    Source: He et al., Practical Lessons from Predicting Clicks on Ads at Facebook (ADKDD 2014), section 2 (calibration).

    Args:
        label: 0 or 1, or a count.
        prediction: Probability of 1, or the rate.
        weight: Weight of each row.

    Example:
        >>> calibration_ratio(np.array([1.0, 0.0]), np.array([0.6, 0.6]))
        1.2
    """
    weight = weights_of(label, weight)
    observed = float(weight @ label.astype(np.float64))
    return float(weight @ prediction.astype(np.float64)) / observed if observed > 0 else Undefined("no positive label occurs")
