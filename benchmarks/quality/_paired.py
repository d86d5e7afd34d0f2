"""Metrics with the share that each test row has in them, and intervals of paired differences from those shares."""

import numpy as np
from scipy.stats import rankdata

RESAMPLES = 1000


def auc(label: np.ndarray, score: np.ndarray) -> tuple[float, np.ndarray]:
    """AUC and its influence by row (the placements of DeLong, DeLong and Clarke-Pearson 1988)."""
    positive = label == 1
    ranks, shares = rankdata(score), np.empty(len(label))
    for side in (positive, ~positive):
        below = ranks[side] - rankdata(score[side])
        shares[side] = below / (~side).sum()
    shares[~positive] = 1 - shares[~positive]
    value = float(shares[positive].mean())
    return value, (shares - value) / np.where(positive, positive.mean(), 1 - positive.mean())


def nmse(label: np.ndarray, predicted: np.ndarray) -> tuple[float, np.ndarray]:
    """Mean squared error as a share of the label's variance, and its influence by row; the variance is taken as known."""
    errors = (label - predicted) ** 2 / label.var()
    return float(errors.mean()), errors - errors.mean()


METRICS = {"binary": ("AUC", auc), "regression": ("nMSE", nmse)}


class Resamples:
    """The same resamples of test rows for everything that is compared, so that differences are paired.

    Args:
        num_rows: Number of test rows.
        seed: Of the resamples.
    """

    def __init__(self, num_rows: int, seed: int = 0) -> None:
        self.random = np.random.default_rng(seed)
        self.weights = self.random.poisson(1.0, (RESAMPLES, num_rows)).astype(np.float32) - 1

    def deviations(self, influence: np.ndarray) -> np.ndarray:
        """By resample (rows of the result) and seed (columns): how far each seed's metric moves."""
        return self.weights @ influence.T.astype(np.float32) / influence.shape[1]

    def interval(self, difference: np.ndarray, moved: np.ndarray) -> list[float]:
        """95 % interval of the mean over seeds: rows and seeds are resampled together.

        Args:
            difference: Paired difference of each seed.
            moved: Difference of the `deviations`.
        """
        num_seeds = len(difference)
        spread = np.sqrt(num_seeds / max(num_seeds - 1, 1))  # a resample of few values is too narrow by this
        centred = difference.mean() + spread * (difference - difference.mean())
        seeds = np.random.default_rng(1).integers(num_seeds, size=(RESAMPLES, num_seeds))
        drawn = (centred[seeds] + np.take_along_axis(moved, seeds, axis=1)).mean(1)
        return [float(bound) for bound in np.quantile(drawn, [0.025, 0.975])]
