"""Two numbers: how sharp, and how often."""

from dataclasses import dataclass, field
from typing import ClassVar, final

import numpy as np
from jaxtyping import Float
from scipy.special import expit

from polytask.calibration._base import FITTED, Calibration, Weights, counted, log_odds
from polytask.calibration._newton import Slopes, minimum


@final
@dataclass(frozen=True, kw_only=True)
class Platt(Calibration):
    """A straight line in log-odds, of greatest likelihood on held-out labels.

    `p' = sigmoid(a log(p / (1 - p)) + b)`; a and b minimise the mean log loss. At the minimum `sum_i w_i (p'_i - t_i) = 0` and
    `sum_i w_i (p'_i - t_i) log(p_i / (1 - p_i)) = 0`. Targets t are a little inside 0 and 1 (below). The order of rows stays.

    Prefer it for binary tasks with few positives, and where the base rate moved (sampled negatives, a season). Not where the
    curve has another shape and there are thousands of positives: take `Isotonic`.

    Cost: a few passes over the held-out rows; one logarithm and one exponential a row afterwards.

    Source: Platt, Probabilistic Outputs for Support Vector Machines (1999), section 2; targets and Newton's method as in Lin,
    Lin & Weng, A Note on Platt's Probabilistic Outputs (2007). From memory: neither paper was at hand.
    Differs: the score is the log-odds of the prediction. Where the best a is negative it is 0: no order is turned round.

    Args:
        slope: The factor a, not below 0.
        offset: The summand b.

    Example:
        >>> Platt(slope=1.0, offset=-np.log(9)).apply(np.array([0.5, 0.9])).round(3).tolist()
        [0.1, 0.5]
    """

    kinds: ClassVar[tuple[str, ...]] = ("binary",)
    name: ClassVar[str] = "platt"

    slope: float = field(metadata=FITTED)
    offset: float = field(metadata=FITTED)

    @classmethod
    def fit(cls, label: Float[np.ndarray, " n"], prediction: Float[np.ndarray, "n ..."], weight: Weights = None) -> "Platt":
        """The line of greatest likelihood."""
        label, probability, weight = counted(label, prediction, weight)
        target = smoothed(label, weight)
        score, weight = log_odds(probability.astype(prediction.dtype)), weight / weight.sum()
        inputs = np.stack([score, np.ones_like(score)])

        def loss(line: np.ndarray) -> Slopes:
            odds = line @ inputs
            chance = expit(odds)
            value = weight @ (np.logaddexp(0, odds) - target * odds)
            return float(value), inputs @ (weight * (chance - target)), (inputs * (weight * chance * (1 - chance))) @ inputs.T

        slope, offset = minimum(loss, np.array([1.0, 0.0]))
        if slope < 0:
            mean = float(weight @ target)
            slope, offset = 0.0, np.log(mean) - np.log1p(-mean)
        return cls(slope=float(slope), offset=float(offset))

    def apply(self, prediction: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, "n ..."]:
        """The line, as a probability."""
        calibrated: np.ndarray = expit(self.slope * log_odds(prediction) + self.offset)
        return calibrated.astype(prediction.dtype)


def smoothed(label: Float[np.ndarray, " n"], weight: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Platt's targets: `(n1 + 1) / (n1 + 2)` for ones, `1 / (n0 + 2)` for zeros; labels parted without a mistake stay finite."""
    ones, zeros = float(weight @ label), float(weight @ (1 - label))
    return np.where(label > 0.5, (ones + 1) / (ones + 2), 1 / (zeros + 2))
