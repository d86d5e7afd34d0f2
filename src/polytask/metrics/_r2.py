"""Share of the variance explained."""

import numpy as np
from jaxtyping import Float

from polytask.metrics._base import NO_ROW, Undefined, mean


def r2(
    label: Float[np.ndarray, " n"], prediction: Float[np.ndarray, " n"], weight: Float[np.ndarray, " n"] | None = None
) -> float:
    """Share of the labels' variance that is explained: 1 is perfect, 0 no better than the mean, below 0 worse.

    Args:
        label: Label on its own scale.
        prediction: Estimate of the mean.
        weight: Weight of each row.

    Example:
        >>> r2(np.array([0.0, 2.0]), np.array([0.0, 1.0]))
        0.5
    """
    label = label.astype(np.float64)
    center = mean(label, weight)
    if isinstance(center, Undefined):
        return Undefined(NO_ROW)
    spread = mean(np.square(label - center), weight)
    return 1 - mean(np.square(prediction - label), weight) / spread if spread > 0 else Undefined("all labels are equal")
