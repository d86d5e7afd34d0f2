"""A real number: its mean."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, final

import numpy as np
import pyarrow as pa
from jaxtyping import Float
from torch import Tensor

from polytask.errors import ConfigError, DataError, Where, message, row_of
from polytask.losses import half_squared_error
from polytask.tasks._base import FITTED, Task
from polytask.tasks._domain import real_labels
from polytask.tasks._standard import moments, own_scale, own_scale_labels, standardised
from polytask.tasks._summary import LabelSummary


@final
@dataclass(frozen=True, kw_only=True)
class Regression(Task):
    """A real number, of which the mean is predicted: a price, a torque, a temperature.

    Labels are standardised inside: the output z means `mean + scale z`, the loss is `(label - z)^2 / 2` in standard deviations:
    the units of a label change nothing but the units of its prediction.

    Under far outliers, or where an interval is wanted, prefer `Quantile`; for counts `Count`. It adds one output.

    Args:
        mean: Mean of the labels.
        scale: Standard deviation of the labels.

    Example:
        >>> summary = LabelSummary("price")
        >>> summary.update(pa.array([10.0, 30.0]))
        >>> Regression("price").fitted(summary).encode(pa.array([30.0, None])).tolist()
        [1.0, nan]
    """

    kind: ClassVar[str] = "regression"
    default_metrics: ClassVar[tuple[str, ...]] = ("rmse", "mae", "r2")

    mean: float = field(default=0.0, metadata=FITTED)
    scale: float = field(default=1.0, metadata=FITTED)

    @property
    def out_features(self) -> int:
        """One: the mean, standardised."""
        return 1

    @property
    def outcomes(self) -> tuple[str, ...]:
        """One column."""
        return ()

    def fitted(self, summary: LabelSummary) -> "Regression":
        """The task with its labels' mean and scale."""
        self._demand(summary, text=False)
        mean, scale = moments(summary)
        return replace(self, mean=mean, scale=scale)

    def initial_bias(self) -> tuple[float, ...]:
        """Zero: the mean."""
        return (0.0,)

    def encode(self, labels: pa.Array | pa.ChunkedArray, *, where: Where = row_of) -> Float[np.ndarray, " n"]:
        """Standard deviations from the mean; NaN where missing."""
        return standardised(real_labels(labels, self.label, where, self._refusal), self.mean, self.scale)

    def decode(self, labels: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Labels on their own scale."""
        return own_scale_labels(labels, self.mean, self.scale)

    def row_loss(self, output: Float[Tensor, "n 1"], label: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Half the squared error, in variances of the label."""
        return half_squared_error(output, label)

    def predict(self, output: Float[Tensor, "n 1"]) -> Float[Tensor, " n"]:
        """Estimate on the label's own scale."""
        return own_scale(output.squeeze(1), self.mean, self.scale)

    def _check_declared(self) -> None:
        if not self.scale > 0:
            raise ConfigError(message(f"The scale of task {self.name!r} must be above 0.", received=self.scale))

    def _refusal(self, received: str) -> DataError:
        return self._outside("a finite number", received, "Mend the label, or leave it empty.")
