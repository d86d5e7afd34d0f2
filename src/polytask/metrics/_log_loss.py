"""Cross-entropy of predicted probabilities."""

import numpy as np
from jaxtyping import Float

from polytask.metrics._base import mean


def log_loss(
    label: Float[np.ndarray, " n"], prediction: Float[np.ndarray, " n"], weight: Float[np.ndarray, " n"] | None = None
) -> float:
    """Mean negative log-likelihood of 0/1 labels under the predicted probabilities, in nats.

    Sees ranking and calibration both. Probabilities are kept one rounding step of their type away from 0 and 1, as in
    scikit-learn.

    Source: Gneiting & Raftery, Strictly Proper Scoring Rules (JASA 2007), section 3 (logarithmic score).

    Args:
        label: 0 or 1.
        prediction: Probability of 1.
        weight: Weight of each row.

    Example:
        >>> round(log_loss(np.array([1.0, 0.0]), np.array([0.8, 0.4])), 4)
        0.367
    """
    step = np.finfo(prediction.dtype).eps
    probability = np.clip(prediction.astype(np.float64), step, 1 - step)
    return mean(-(label * np.log(probability) + (1 - label) * np.log1p(-probability)), weight)
