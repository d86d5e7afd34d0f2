"""Cross-entropy of predicted class probabilities."""

import numpy as np
from jaxtyping import Float

from polytask.metrics._base import mean


def multiclass_log_loss(
    label: Float[np.ndarray, " n"], prediction: Float[np.ndarray, "n c"], weight: Float[np.ndarray, " n"] | None = None
) -> float:
    """Mean negative log-probability of the right class, in nats; log c is no better than a die.

    Probabilities are kept one rounding step of their type away from 0 and 1, as scikit-learn does.

    Source: Gneiting & Raftery, Strictly Proper Scoring Rules (JASA 2007), section 3 (logarithmic score).

    Args:
        label: Place of the class.
        prediction: Probability of each class.
        weight: Weight of each row.

    Example:
        >>> round(multiclass_log_loss(np.array([1.0, 0.0]), np.array([[0.2, 0.8], [0.5, 0.5]])), 4)
        0.4581
    """
    step = np.finfo(prediction.dtype).eps
    right = np.take_along_axis(prediction, label.astype(np.int64)[:, None], axis=1)[:, 0].astype(np.float64)
    return mean(-np.log(np.clip(right, step, 1 - step)), weight)
