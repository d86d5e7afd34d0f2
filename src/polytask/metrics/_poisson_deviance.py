"""How far rates are from counts."""

import numpy as np
from jaxtyping import Float

from polytask.metrics._base import Undefined, mean


def poisson_deviance(
    label: Float[np.ndarray, " n"], prediction: Float[np.ndarray, " n"], weight: Float[np.ndarray, " n"] | None = None
) -> float:
    """Mean Poisson deviance: `2 (y log(y / rate) - y + rate)`; 0 where every rate equals its count.

    Source: McCullagh & Nelder, Generalized Linear Models (2nd ed., 1989), section 2.3.

    Args:
        label: Count.
        prediction: Rate, above 0.
        weight: Weight of each row.

    Example:
        >>> poisson_deviance(np.array([0.0, 2.0]), np.array([1.0, 2.0]))
        1.0
    """
    if (prediction <= 0).any():
        return Undefined("a predicted rate is not above 0")
    label, rate = label.astype(np.float64), prediction.astype(np.float64)
    ratio = np.where(label > 0, label, rate) / rate  # y log(y / rate) is 0 at y = 0
    return mean(2 * (label * np.log(ratio) - label + rate), weight)
