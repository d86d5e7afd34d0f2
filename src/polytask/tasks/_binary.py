"""Yes or no."""

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar, final

import numpy as np
import pyarrow as pa
from jaxtyping import Float
from torch import Tensor

from polytask.errors import ConfigError, DataError, Where, message, nearest, row_of
from polytask.losses import binary_cross_entropy
from polytask.tasks._base import FITTED, Task
from polytask.tasks._column import Value, missing, plain, positions
from polytask.tasks._domain import placed_labels, refuse_counted, refuse_first
from polytask.tasks._summary import LabelSummary


@final
@dataclass(frozen=True, kw_only=True)
class Binary(Task):
    """Yes or no: a click, a purchase, a toxic compound.

    The output is log-odds; the loss is cross-entropy, the prediction the probability of 1.

    Prefer it to `Multiclass` for two classes, and for labels that do not exclude one another: one binary task each. Its sample
    space may be another binary task (`given`). It adds one output.

    Args:
        positive: Value that counts as 1, or several. Needed for text and for numbers other than 0 and 1. Where fitting saw
            one other value, only that one counts as 0; where it saw several, every other value does.
        base_rate: Share of ones among the labels.
        negative: The one other value that occurs.

    Raises:
        ConfigError: If `positive` is empty.

    Example:
        >>> task = Binary("buy", given="click", positive="yes")
        >>> task.encode(pa.array(["yes", "no", None])).tolist()
        [1.0, 0.0, nan]
    """

    kind: ClassVar[str] = "binary"
    default_metrics: ClassVar[tuple[str, ...]] = ("auc", "log_loss", "calibration_error")

    positive: Value | tuple[Value, ...] | None = None
    base_rate: float | None = field(default=None, metadata=FITTED)
    negative: Value | None = field(default=None, metadata=FITTED)

    @property
    def out_features(self) -> int:
        """One: the log-odds."""
        return 1

    @property
    def outcomes(self) -> tuple[str, ...]:
        """One column."""
        return ()

    @property
    def positives(self) -> tuple[Value, ...]:
        """The values that count as 1."""
        if self.positive is None:
            return (1,)
        return self.positive if isinstance(self.positive, tuple) else (self.positive,)

    def fitted(self, summary: LabelSummary) -> "Binary":
        """The task with its base rate."""
        self._demand(summary, text=True)
        if self.positive is None:
            zeros, ones = refuse_counted(summary, (0, 1), self._refusal).tolist()
            return replace(self, base_rate=ones / (zeros + ones))
        counts = self._counts(summary)
        is_one = positions(plain(pa.array(list(counts)), self.label), self.positives) >= 0
        others = [value for value, one in zip(counts, is_one.tolist(), strict=True) if not one]
        ones = sum(counts.values()) - sum(counts[value] for value in others)
        if not ones or not others:
            raise self._one_sided(counts, "none" if not ones else "all")
        return replace(self, base_rate=ones / summary.observed, negative=others[0] if len(others) == 1 else None)

    def initial_bias(self) -> tuple[float, ...]:
        """Log-odds of the base rate."""
        return (0.0 if self.base_rate is None else math.log(self.base_rate) - math.log1p(-self.base_rate),)

    def encode(self, labels: pa.Array | pa.ChunkedArray, *, where: Where = row_of) -> Float[np.ndarray, " n"]:
        """0 and 1; NaN where missing."""
        if self.positive is None:
            return placed_labels(labels, (0, 1), self.label, where, self._refusal)
        values = plain(labels, self.label)
        one, absent = positions(values, self.positives) >= 0, missing(values)
        if self.negative is not None:
            refuse_first(values, ~one & ~absent & (positions(values, (self.negative,)) < 0), where, self._refusal)
        return np.where(absent, np.float32(np.nan), one.astype(np.float32))

    def decode(self, labels: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """0 and 1."""
        return labels

    def row_loss(self, output: Float[Tensor, "n 1"], label: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Cross-entropy."""
        return binary_cross_entropy(output, label)

    def predict(self, output: Float[Tensor, "n 1"]) -> Float[Tensor, " n"]:
        """Probability of 1."""
        return output.float().sigmoid().squeeze(1)

    def _check_declared(self) -> None:
        if self.positive == ():
            raise ConfigError(message(f"Task {self.name!r} needs a value in `positive`.", received="()"))

    def _counts(self, summary: LabelSummary) -> dict[Value, int]:
        if summary.counts is None:
            raise self._refusal(f"more than {summary.max_distinct} distinct values")
        return summary.counts

    def _refusal(self, received: str) -> DataError:
        if self.positive is None:
            return self._outside("0 or 1", received, "Say which value counts as 1: `positive`.")
        return self._outside(f"one of {[*self.positives, self.negative]!r}", received, "Mend the label, or leave it empty.")

    def _one_sided(self, counts: dict[Value, int], share: str) -> DataError:
        expected = f"Task {self.name!r} (binary) needs rows in column {self.label!r} with a value of `positive`, and others."
        received = f"{share} of the labelled rows with positive={self.positive!r}"
        way_out = nearest(str(self.positives[0]), list(map(str, counts))[:20]) if share == "none" else "Check `positive`."
        return DataError(message(expected, received=received, way_out=way_out))
