"""Log loss in units of what the base rate alone would give."""

import math

import numpy as np
from jaxtyping import Float

from polytask.metrics._base import Undefined, mean
from polytask.metrics._log_loss import log_loss


def normalised_entropy(
    label: Float[np.ndarray, " n"], prediction: Float[np.ndarray, " n"], weight: Float[np.ndarray, " n"] | None = None
) -> float:
    """Log loss divided by the entropy of the base rate: 1 is no better than always predicting the mean.

    Comparable between tasks of different base rates, where log loss is not.

    Source: He et al., Practical Lessons from Predicting Clicks on Ads at Facebook (ADKDD 2014), section 2.

    Args:
        label: 0 or 1.
        prediction: Probability of 1.
        weight: Weight of each row.

    Example:
        >>> normalised_entropy(np.array([1.0, 0.0]), np.array([0.5, 0.5]))
        1.0
    """
    rate = mean(label, weight)
    if not 0 < rate < 1:
        return Undefined("only one class occurs")
    entropy = -(rate * math.log(rate) + (1 - rate) * math.log1p(-rate))
    return log_loss(label, prediction, weight) / entropy
