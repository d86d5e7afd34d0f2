"""What a task must know of its label column, gathered in one pass and bounded memory."""

import math
from typing import final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float

from polytask.errors import DataError, Where, message, row_of
from polytask.tasks._column import Value, is_text, missing, numbers, plain


@final
class LabelSummary:
    """Counts, moments and extremes of one label column, from as many updates as there are batches.

    mean and variance are merged exactly (Chan, Golub and LeVeque): they do not depend on how the rows are cut into batches.

    Example:
        >>> summary = LabelSummary("stars")
        >>> summary.update(pa.array([1, 5, None]))
        >>> summary.update(pa.array([5]))
        >>> summary.rows, summary.observed, summary.counts
        (4, 3, {1: 1, 5: 2})

    Args:
        column: Name of the column, for messages.
        max_distinct: How many distinct values are counted; beyond it `counts` is None.
        where: Names a row of the table by its number, for messages.

    Attributes:
        rows: Rows seen.
        observed: Rows with a label.
        counts: How often each value occurs, by order of first appearance, or None where they are too many.
        first_rows: Row in which each counted value was first seen, or None as `counts`.
        mean: Mean of the labels; NaN for text and where there is none.
        minimum: Smallest label; infinite where there is none.
        maximum: Largest label; infinite where there is none.
        text: Whether the column holds text.
        positives: Labels above 0.
        log_mean: Mean of the logarithm of labels above 0; NaN where there is none.
    """

    def __init__(self, column: str, *, max_distinct: int = 10_000, where: Where = row_of) -> None:
        self.column = column
        self.where = where
        self.max_distinct = max_distinct
        self.rows = 0
        self.observed = 0
        self.counts: dict[Value, int] | None = {}
        self.first_rows: dict[Value, int] | None = {}
        self.mean = math.nan
        self.minimum = math.inf
        self.maximum = -math.inf
        self.text = False
        self._squares = 0.0  # sum of squared distances from the mean
        self.positives = 0
        self.log_mean = math.nan
        self._log_squares = 0.0

    @property
    def variance(self) -> float:
        """Mean squared distance of the labels from their mean; NaN where `mean` is."""
        return self._squares / self.observed if self.observed and not self.text else math.nan

    @property
    def log_variance(self) -> float:
        """Mean squared distance of the logarithms of labels above 0 from `log_mean`; NaN where there is none."""
        return self._log_squares / self.positives if self.positives else math.nan

    def update(self, values: pa.Array | pa.ChunkedArray, *, where: Bool[np.ndarray, " n"] | None = None) -> None:
        """Adds the next rows of the column.

        Args:
            values: Labels of the rows; null and NaN are missing.
            where: Rows that are in the task's sample space (`given`); all where not given. The others count as missing.

        Raises:
            DataError: Names the row of an infinite value, or the type of a column that holds no labels.
        """
        column = plain(values, self.column)
        if where is not None:
            column = pc.if_else(pa.array(where), column, pa.scalar(None, column.type))
        if is_text(column):
            self.text = True
            self.observed += len(column) - column.null_count
        else:
            self._merge(numbers(column))
        self._count(column)
        self.rows += len(column)

    def _merge(self, labels: Float[np.ndarray, " n"]) -> None:
        infinite = np.flatnonzero(np.isinf(labels))
        if infinite.size:
            received = f"{labels[infinite[0]]} in {self.where(self.rows + int(infinite[0]))}"
            raise DataError(
                message(
                    f"Labels in column {self.column!r} must be finite.", received=received, way_out="Clip it or leave it empty."
                )
            )
        labels = labels[~np.isnan(labels)]
        if not labels.size:
            return
        self.mean, self._squares = _merged((self.observed, self.mean, self._squares), labels)
        self.minimum = min(self.minimum, float(labels.min()))
        self.maximum = max(self.maximum, float(labels.max()))
        self.observed += labels.size
        logarithms = np.log(labels[labels > 0])
        if logarithms.size:
            self.log_mean, self._log_squares = _merged((self.positives, self.log_mean, self._log_squares), logarithms)
            self.positives += logarithms.size

    def _count(self, column: pa.Array) -> None:
        if self.counts is None or self.first_rows is None:
            return
        rows = np.flatnonzero(~missing(column))
        encoded = column.drop_null().dictionary_encode()
        values = encoded.dictionary
        if len(values) <= self.max_distinct:
            codes = encoded.indices.to_numpy(zero_copy_only=False)
            first = np.zeros(len(values), dtype=np.int64)
            first[codes[::-1]] = rows[::-1]  # the last write wins: the earliest row
            for value, count, row in zip(values.to_pylist(), np.bincount(codes, minlength=len(values)), first, strict=True):
                self.counts[value] = self.counts.get(value, 0) + int(count)
                self.first_rows.setdefault(value, self.rows + int(row))
        if len(values) > self.max_distinct or len(self.counts) > self.max_distinct:
            self.counts = self.first_rows = None


def _merged(before: tuple[int, float, float], values: Float[np.ndarray, " n"]) -> tuple[float, float]:
    """Mean and sum of squared distances from it, of what was counted before and of further values."""
    count, old, squares = before
    mean = float(values.mean())
    squares += float(np.square(values - mean).sum())
    if not count:
        return mean, squares
    step, total = mean - old, count + values.size
    return old + step * values.size / total, squares + step * step * count * values.size / total
