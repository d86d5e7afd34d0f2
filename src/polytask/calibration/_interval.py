"""Intervals of an observed mean."""

import numpy as np
from jaxtyping import Float

_Z = 1.959963984540054
"""The normal quantile of 97.5 %."""


def mean_interval(label: Float[np.ndarray, " n"], weight: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Ends of a 95 % interval of the mean label: Wilson's for 0/1 labels, else the normal one, not below 0 for amounts.

    Wilson's holds where there is no positive at all: it then begins at 0. Rows of unequal weight count as
    `(sum w)^2 / sum w^2` rows.

    Source: Wilson, Probable Inference, the Law of Succession, and Statistical Inference (JASA 1927); the
    number of rows is that of Kish, Survey Sampling (1965). From memory.

    Args:
        label: 0 or 1, or an amount.
        weight: Weight of each row; their sum is above 0.

    Example:
        >>> low, high = mean_interval(np.zeros(100), np.ones(100))
        >>> low, round(high, 4)
        (0.0, 0.037)
    """
    rows, mean = float(weight.sum() ** 2 / (weight**2).sum()), float(weight @ label / weight.sum())
    if ((label == 0) | (label == 1)).all():
        middle, square = mean + _Z**2 / (2 * rows), 1 + _Z**2 / rows
        half = _Z * np.sqrt(mean * (1 - mean) / rows + _Z**2 / (4 * rows**2))
        low, high = float((middle - half) / square), float((middle + half) / square)
        return low if mean > 0 else 0.0, high if mean < 1 else 1.0
    variance = float(weight @ (label - mean) ** 2 / weight.sum()) * rows / max(rows - 1, 1)
    half = _Z * np.sqrt(variance / rows)
    return (max(mean - half, 0.0) if (label >= 0).all() else mean - half), mean + half
