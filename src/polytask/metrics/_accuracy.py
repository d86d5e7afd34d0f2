"""Share of rows whose likeliest class is the label."""

import numpy as np
from jaxtyping import Float

from polytask.metrics._base import mean


def accuracy(
    label: Float[np.ndarray, " n"], prediction: Float[np.ndarray, "n c"], weight: Float[np.ndarray, " n"] | None = None
) -> float:
    """Share of rows whose likeliest class is the label.

    Blind to rare classes: use `macro_f1` beside it.

    Args:
        label: Place of the class.
        prediction: Probability of each class.
        weight: Weight of each row.

    Example:
        >>> accuracy(np.array([1.0, 0.0]), np.array([[0.2, 0.8], [0.3, 0.7]]))
        0.5
    """
    return mean((prediction.argmax(axis=1) == label).astype(np.float64), weight)
