"""Rows in bins of equal mass by prediction."""

import numpy as np
from jaxtyping import Float, Int


def equal_mass_bins(prediction: Float[np.ndarray, " n"], weight: Float[np.ndarray, " n"], num_bins: int) -> Int[np.ndarray, " n"]:
    """Bin of each row, from the lowest predictions to the highest; a bin may stay empty where many predictions are equal.

    Equal predictions share the bin that holds the middle of their mass, so bins do not depend on the order of rows.

    Args:
        prediction: What rows are ordered by.
        weight: Weight of each row; their sum is above 0.
        num_bins: Number of bins.

    Example:
        >>> equal_mass_bins(np.array([0.2, 0.1, 0.2, 0.9]), np.ones(4), 2).tolist()
        [1, 0, 1, 1]
    """
    distinct, place = np.unique(prediction, return_inverse=True)
    mass = np.bincount(place, weight, minlength=len(distinct))
    middle = (np.cumsum(mass) - mass / 2) / mass.sum()
    bins: np.ndarray = np.minimum((middle * num_bins).astype(np.int64), num_bins - 1)[place]
    return bins
