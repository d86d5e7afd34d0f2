"""How far quantiles are from labels."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from polytask.metrics._base import mean


def pinball_loss(
    label: Float[np.ndarray, " n"],
    prediction: Float[np.ndarray, "n q"],
    weight: Float[np.ndarray, " n"] | None = None,
    *,
    levels: Sequence[float],
) -> float:
    """Mean pinball loss over rows and levels, in the label's units; for the median alone it is half the mean absolute error.

    Source: Koenker & Bassett, Regression Quantiles (Econometrica 1978).

    Args:
        label: Label on its own scale.
        prediction: Each quantile, on the same scale.
        weight: Weight of each row.
        levels: Share of labels below each quantile.

    Example:
        >>> pinball_loss(np.array([1.0]), np.array([[0.0, 2.0]]), levels=(0.25, 0.75))
        0.25
    """
    above = label[:, None] - prediction.astype(np.float64)
    level = np.asarray(levels, dtype=np.float64)
    return mean(np.maximum(level * above, (level - 1) * above).mean(axis=1), weight)
