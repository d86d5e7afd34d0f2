"""What a logged decision must say so that another policy can be judged by it."""

from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float

from polytask.errors import DataError, message


@final
@dataclass(frozen=True)
class Log:
    """n logged decisions, one row each: what was shown at one place, with what probability, and what came of it.

    In a list of several places every place is a row: its propensity is the probability of this item at this place.

    Example:
        >>> log = Log(np.array([1.0, 0.0]), np.array([0.5, 0.25]), np.array([1.0, 0.0]))
        >>> log.weights().tolist()
        [2.0, 0.0]

    Args:
        reward: What came of it: a click, a revenue.
        propensity: Probability with which the logging policy chose it, above 0.
        target: Probability with which the policy that is judged would have chosen it.

    Raises:
        DataError: Names the column, the row and the value that is none.
    """

    reward: Float[np.ndarray, " n"]
    propensity: Float[np.ndarray, " n"]
    target: Float[np.ndarray, " n"]

    def __post_init__(self) -> None:
        if not len(self.reward):
            raise DataError(message("A log must have rows.", received="none"))
        _refuse("reward", self.reward, np.isfinite(self.reward), "a finite number")
        for name, low in (("propensity", self.propensity > 0), ("target", self.target >= 0)):
            values = getattr(self, name)
            sign = "above 0" if name == "propensity" else "from 0"
            _refuse(name, values, low & (values <= 1 + 1e-6), f"a probability, {sign} up to 1")

    def __len__(self) -> int:
        """Number of rows n."""
        return len(self.reward)

    def weights(self, clip: float | None = None) -> Float[np.ndarray, " n"]:
        """How much more often the judged policy chooses each row than the logging policy did.

        Args:
            clip: Greatest weight: bounds the variance, and biases towards the logging policy. None leaves them as they are.
        """
        if clip is not None and not clip > 0:
            raise DataError(message("The greatest weight is above 0.", received=clip))
        weights: np.ndarray = self.target.astype(np.float64) / self.propensity
        return weights if clip is None else np.minimum(weights, clip)


def _refuse(name: str, values: np.ndarray, right: np.ndarray, wanted: str) -> None:
    if not right.all():
        row = int(np.flatnonzero(~right)[0])
        raise DataError(message(f"Column {name!r} must be {wanted}.", received=f"{values[row]} in row {row}"))
