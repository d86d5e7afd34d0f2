"""Any rising curve."""

from dataclasses import dataclass, field
from typing import ClassVar, final

import numpy as np
from jaxtyping import Float
from scipy.optimize import isotonic_regression

from polytask.calibration._base import FITTED, Calibration, Weights, counted


@final
@dataclass(frozen=True, kw_only=True)
class Isotonic(Calibration):
    """The rising curve that is nearest to held-out labels: blocks of predictions, each with its observed rate.

    `min over rising f of sum_i w_i (y_i - f(p_i))^2`, which is also the rising curve of greatest likelihood. In each block
    f is the mean label, so calibrated predictions sum to the number of positives, block by block. Between blocks it is a
    straight line.

    Prefer it where there are thousands of positives: it takes any shape. Not where there are few: it learns their noise by heart,
    take `Platt`. Not where ranks matter inside a block: rows of a block get one value, so AUC moves a little.

    Cost: sorting the held-out rows (a million in about a second); a search among the blocks a row afterwards.

    Source: Zadrozny & Elkan, Transforming Classifier Scores into Accurate Multiclass Probability Estimates (KDD 2002), section 4;
    pool adjacent violators by SciPy. From memory: the paper was not at hand.
    Differs: values stay `1 / (2 n)` away from 0 and 1 (n the weight of all rows), so that no label is impossible;
    equal predictions are pooled first, as in scikit-learn, whose values these are otherwise.

    Args:
        inputs: Lowest and highest prediction of each block, rising.
        outputs: Value at each, rising.

    Example:
        >>> Isotonic.fit(np.array([0.0, 1.0, 0.0, 1.0]), np.array([0.1, 0.2, 0.3, 0.9])).outputs
        (0.125, 0.5, 0.5, 0.875)
    """

    kinds: ClassVar[tuple[str, ...]] = ("binary",)
    name: ClassVar[str] = "isotonic"

    inputs: tuple[float, ...] = field(metadata=FITTED)
    outputs: tuple[float, ...] = field(metadata=FITTED)

    @classmethod
    def fit(cls, label: Float[np.ndarray, " n"], prediction: Float[np.ndarray, "n ..."], weight: Weights = None) -> "Isotonic":
        """Pools adjacent violators."""
        label, probability, weight = counted(label, prediction, weight)
        levels, place = np.unique(probability, return_inverse=True)
        mass = np.bincount(place, weight)
        found = isotonic_regression(np.bincount(place, weight * label) / mass, weights=mass)
        first, last = found.blocks[:-1], found.blocks[1:] - 1
        knots = np.unique(np.concatenate([first, last]))
        margin = min(0.5 / mass.sum(), 0.5)
        return cls(inputs=tuple(levels[knots].tolist()), outputs=tuple(found.x[knots].clip(margin, 1 - margin).tolist()))

    def apply(self, prediction: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, "n ..."]:
        """The curve at each prediction; beyond the first and last block it goes on level."""
        return np.interp(prediction.astype(np.float64), self.inputs, self.outputs).astype(prediction.dtype)
