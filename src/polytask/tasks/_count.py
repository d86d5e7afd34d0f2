"""How often."""

from dataclasses import dataclass, field, replace
from typing import ClassVar, final

import numpy as np
import pyarrow as pa
from jaxtyping import Float
from torch import Tensor

from polytask.errors import ConfigError, DataError, Where, message, row_of
from polytask.losses import poisson, positive_rate
from polytask.tasks._base import FITTED, Task
from polytask.tasks._column import plain
from polytask.tasks._domain import real_labels, refuse_first
from polytask.tasks._summary import LabelSummary


@final
@dataclass(frozen=True, kw_only=True)
class Count(Task):
    """How often something happens, of which the rate is predicted: visits, shares, defects.

    The rate is `mean exp(output)`, so an output of 0 is the mean rate; the loss is half the Poisson deviance.

    For counts so large that they are as good as real numbers prefer `Regression` of their logarithm. It adds one output.

    Args:
        mean: Mean of the labels.

    Example:
        >>> Count("visits").encode(pa.array([0, 3, None])).tolist()
        [0.0, 3.0, nan]
    """

    kind: ClassVar[str] = "count"
    default_metrics: ClassVar[tuple[str, ...]] = ("poisson_deviance", "mae", "rmse")

    mean: float = field(default=1.0, metadata=FITTED)

    @property
    def out_features(self) -> int:
        """One: the logarithm of the rate, in units of the mean rate."""
        return 1

    @property
    def outcomes(self) -> tuple[str, ...]:
        """One column."""
        return ()

    def fitted(self, summary: LabelSummary) -> "Count":
        """The task with the mean of its labels."""
        self._demand(summary, text=False)
        for value, row in (summary.first_rows or {}).items():
            if float(value) < 0 or not float(value).is_integer():
                raise self._refusal(f"{value!r} in {summary.where(row)}")
        if summary.minimum < 0:
            raise self._refusal(repr(summary.minimum))
        return replace(self, mean=summary.mean)

    def initial_bias(self) -> tuple[float, ...]:
        """Zero: the mean rate."""
        return (0.0,)

    def encode(self, labels: pa.Array | pa.ChunkedArray, *, where: Where = row_of) -> Float[np.ndarray, " n"]:
        """The counts; NaN where missing."""
        found = real_labels(labels, self.label, where, self._refusal)
        with np.errstate(invalid="ignore"):
            refuse_first(plain(labels, self.label), (found < 0) | (found > np.floor(found)), where, self._refusal)
        return found.astype(np.float32)

    def decode(self, labels: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """The counts."""
        return labels

    def row_loss(self, output: Float[Tensor, "n 1"], label: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Half the Poisson deviance."""
        return self.mean * poisson(output, label / self.mean)

    def predict(self, output: Float[Tensor, "n 1"]) -> Float[Tensor, " n"]:
        """Expected count."""
        return self.mean * positive_rate(output.float().squeeze(1))

    def _check_declared(self) -> None:
        if not self.mean > 0:
            raise ConfigError(message(f"The mean of task {self.name!r} must be above 0.", received=self.mean))

    def _refusal(self, received: str) -> DataError:
        return self._outside(
            "a whole number from 0 up", received, "Mend the label, leave it empty, or declare the task regression."
        )
