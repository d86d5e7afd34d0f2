"""One number: how sharp."""

from dataclasses import dataclass, field
from typing import ClassVar, final

import numpy as np
from jaxtyping import Float

from polytask.calibration._base import FITTED, Calibration, Weights, counted, log_odds
from polytask.calibration._newton import Slopes, minimum

_SHARPEST = 100.0
"""Bound of the sharpness and of its inverse: labels that are parted without a mistake would make it infinite."""


@final
@dataclass(frozen=True, kw_only=True)
class Temperature(Calibration):
    """Logits divided by one number, so that the likelihood of held-out labels is greatest.

    `p' = softmax(log(p) / T)`, for two classes `p' = sigmoid(log(p / (1 - p)) / T)`; T minimises the mean log loss. At the
    minimum `sum_i w_i (p'_i - y_i) log(p_i / (1 - p_i)) = 0`. The most probable class stays, and so does the order of a binary
    task's rows.

    Prefer it for multiclass tasks, and where the model is right on average but too sure of itself. Not where the base rate is
    wrong, as after sampling of negatives: one factor cannot move it; take `Platt`. Not where the curve has another shape and
    there are thousands of positives: take `Isotonic`.

    Cost: a few passes over the held-out rows; one logarithm and one exponential a row afterwards.

    Source: Guo et al., On Calibration of Modern Neural Networks (ICML 2017), section 4.2 (temperature scaling).
    Differs: Newton's method in float64, in the inverse of T, in which the loss is convex; T stays between 0.01 and 100.

    Args:
        temperature: What logits are divided by; above 1 makes probabilities less sure.

    Example:
        >>> Temperature(temperature=2.0).apply(np.array([0.5, 0.9])).round(3).tolist()
        [0.5, 0.75]
    """

    kinds: ClassVar[tuple[str, ...]] = ("binary", "multiclass")
    name: ClassVar[str] = "temperature"

    temperature: float = field(metadata=FITTED)

    @classmethod
    def fit(cls, label: Float[np.ndarray, " n"], prediction: Float[np.ndarray, "n ..."], weight: Weights = None) -> "Temperature":
        """The temperature of greatest likelihood."""
        label, probability, weight = counted(label, prediction, weight)
        logits = _logits(probability.astype(prediction.dtype))
        place, weight = label.astype(np.int64), weight / weight.sum()
        chosen = np.take_along_axis(logits, place[:, None], axis=1)[:, 0]

        def loss(sharpness: np.ndarray) -> Slopes:
            scaled = sharpness * logits
            top = scaled.max(axis=1, keepdims=True)
            powers = np.exp(scaled - top)
            total = powers.sum(axis=1)
            shares = powers / total[:, None]
            mean = (shares * logits).sum(axis=1)
            spread = (shares * (logits - mean[:, None]) ** 2).sum(axis=1)
            value = weight @ (np.log(total) + top[:, 0] - sharpness[0] * chosen)
            return float(value), np.array([weight @ (mean - chosen)]), np.array([[weight @ spread]])

        (sharpness,) = minimum(loss, np.ones(1), low=1 / _SHARPEST, high=_SHARPEST)
        return cls(temperature=1 / float(sharpness))

    def apply(self, prediction: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, "n ..."]:
        """Softmax of the divided logits."""
        scaled = _logits(prediction) / self.temperature
        powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        shares = powers / powers.sum(axis=1, keepdims=True)
        calibrated: np.ndarray = shares if prediction.ndim > 1 else shares[:, 1]
        return calibrated.astype(prediction.dtype)


def _logits(prediction: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, "n c"]:
    """Logits in float64 up to a number of the row: logarithms of classes; for a binary task zero, and log-odds."""
    if prediction.ndim == 1:
        odds = log_odds(prediction)
        return np.stack([np.zeros_like(odds), odds], axis=1)
    logarithms: np.ndarray = np.log(np.maximum(prediction, np.finfo(prediction.dtype).tiny).astype(np.float64))
    return logarithms
