"""How much, where mostly nothing."""

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar, final

import numpy as np
import pyarrow as pa
from jaxtyping import Float
from torch import Tensor

from polytask.errors import ConfigError, DataError, Where, message, row_of
from polytask.losses import SHARPEST, lognormal_sigma, zero_inflated_lognormal
from polytask.tasks._base import FITTED, Task
from polytask.tasks._column import plain
from polytask.tasks._domain import real_labels, refuse_first, softplus_inverse
from polytask.tasks._standard import in_float64
from polytask.tasks._summary import LabelSummary

_FARTHEST = 80.0
"""Logarithms, encoded or predicted, stay within it: e^80 is far above any amount, and a number in float32."""


@final
@dataclass(frozen=True, kw_only=True)
class Value(Task):
    """An amount that is mostly zero, of which the mean is predicted: spend, a claim, lifetime value.

    One head says whether there is an amount, and how it is spread: `E[y] = sigmoid(a) exp(m + sigma^2 / 2)`. The loss is the
    likelihood of a zero-inflated lognormal (`zero_inflated_lognormal`). Logarithms of amounts above 0 are standardised inside.

    Prefer it to `Regression` where many labels are 0 and the others have a long tail. Not where "whether" is a task of its own
    that other tasks build on: take `Binary` for it and `given` for the amount. Not where the total matters and amounts are no
    lognormal: the mean inherits the error of the shape, so look at `calibration_ratio`. It adds three outputs.

    Source: Wang, Liu & Miao, A Deep Probabilistic Model for Customer Lifetime Value Prediction (2019); checked
    against the code that its authors published, the paper was not at hand.
    Differs: amounts are standardised in their logarithm, sigma has a floor, and no prediction is above `exp(80)`.

    Args:
        share: Share of labels above 0.
        log_mean: Mean of the logarithm of labels above 0.
        log_scale: Standard deviation of that logarithm.

    Raises:
        ConfigError: If the share is not between 0 and 1, or the scale not above 0.

    Example:
        >>> Value("spend").encode(pa.array([0.0, 20.0, None])).tolist()
        [0.0, 20.0, nan]
    """

    kind: ClassVar[str] = "value"
    default_metrics: ClassVar[tuple[str, ...]] = ("normalised_gini", "spearman", "mae", "calibration_ratio", "decile_error")

    share: float = field(default=0.5, metadata=FITTED)
    log_mean: float = field(default=0.0, metadata=FITTED)
    log_scale: float = field(default=1.0, metadata=FITTED)

    @property
    def out_features(self) -> int:
        """Three: logit of an amount, place and spread of its logarithm."""
        return 3

    @property
    def outcomes(self) -> tuple[str, ...]:
        """One column."""
        return ()

    def fitted(self, summary: LabelSummary) -> "Value":
        """The task with the share of its labels above 0, and mean and scale of their logarithm."""
        self._demand(summary, text=False)
        if summary.minimum < 0:
            raise self._refusal(repr(summary.minimum))
        if summary.minimum > 0:
            received = f"amounts from {summary.minimum:g} to {summary.maximum:g}"
            raise self._outside("zeros beside amounts", received, "Declare the task regression: nothing is zero.")
        share, scale = summary.positives / summary.observed, math.sqrt(summary.log_variance)
        return replace(self, share=share, log_mean=summary.log_mean, log_scale=scale or 1.0)  # all amounts may be the same

    def initial_bias(self) -> tuple[float, ...]:
        """Log-odds of the share, and the lognormal of all amounts."""
        return math.log(self.share) - math.log1p(-self.share), 0.0, softplus_inverse(1 - SHARPEST)

    def encode(self, labels: pa.Array | pa.ChunkedArray, *, where: Where = row_of) -> Float[np.ndarray, " n"]:
        """0 where nothing; else the amount, of which the logarithm has mean 0 and variance 1; NaN where missing."""
        found = real_labels(labels, self.label, where, self._refusal)
        with np.errstate(invalid="ignore"):
            refuse_first(plain(labels, self.label), found < 0, where, self._refusal)
        logarithm = (np.log(found, out=np.zeros_like(found), where=found > 0) - self.log_mean) / self.log_scale
        amount = np.exp(logarithm.clip(-_FARTHEST, _FARTHEST))
        return np.where(found > 0, amount, found).astype(np.float32)

    def decode(self, labels: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Amounts on their own scale, in float64."""
        own = labels.astype(np.float64)
        logarithm = np.log(own, out=np.zeros_like(own), where=own > 0)
        return np.where(own > 0, np.exp(logarithm * self.log_scale + self.log_mean), own)

    def row_loss(self, output: Float[Tensor, "n 3"], label: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Likelihood of the zero-inflated lognormal."""
        return zero_inflated_lognormal(output, label)

    def predict(self, output: Float[Tensor, "n 3"]) -> Float[Tensor, " n"]:
        """Expected amount, zeros included."""
        logit, place, raw = in_float64(output).unbind(1)
        spread = self.log_scale * lognormal_sigma(raw)
        logarithm = self.log_mean + self.log_scale * place + spread.square() / 2
        return logit.sigmoid() * logarithm.clamp(-_FARTHEST, _FARTHEST).exp()

    def _check_declared(self) -> None:
        if not 0 < self.share < 1:
            raise ConfigError(message(f"The share of task {self.name!r} must be between 0 and 1.", received=self.share))
        if not self.log_scale > 0:
            raise ConfigError(message(f"The log_scale of task {self.name!r} must be above 0.", received=self.log_scale))

    def _refusal(self, received: str) -> DataError:
        return self._outside("an amount from 0 up", received, "Mend the label, leave it empty, or declare the task regression.")
