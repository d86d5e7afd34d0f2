"""What one pass over any number of rows can remember of a column in bounded memory. Deterministic and mergeable."""

import math
from dataclasses import dataclass
from typing import final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int

from polytask.data.distinct import KINDS, kind_of

MAX_DISTINCT = 1 << 21  # category values counted exactly; with texts of 20 bytes about 80 MB
_PENDING = 1 << 18  # counts that wait before they are added up: amortises the grouping


@final
class CategoryCounts:
    """Counts of distinct categories: exact up to `max_distinct`, then of the most frequent (Misra-Gries).

    Beyond the bound each count is too low by at most `error`, and a value that is missing from the result occurred at most
    `error` times; `error` <= rows / (max_distinct + 1).

    When: any column of categories. For more values than memory holds, hash.

    Source: Misra and Gries 1982; merging as in Agarwal et al. 2013, "Mergeable summaries", section 3.

    Example:
        >>> counts = CategoryCounts()
        >>> counts.add(pa.array(["b", "a"], pa.large_string()), np.array([2, 2]))
        >>> counts.add(pa.array(["c", "a"], pa.large_string()), np.array([9, 1]))
        >>> counts.result()[0].to_pylist(), counts.result()[1].tolist(), counts.error
        (['c', 'a', 'b'], [9, 3, 2], 0)

    Args:
        max_distinct: How many values are kept.
    """

    def __init__(self, max_distinct: int = MAX_DISTINCT) -> None:
        self.max_distinct = max_distinct
        self.error = 0
        self._parts: list[tuple[pa.Array, np.ndarray]] = []
        self._size = 0
        self._settled = 0

    def add(self, values: pa.Array, counts: Int[np.ndarray, " v"]) -> None:
        """Adds counts of plain values (`KINDS`); null values are passed over, a value may come more than once."""
        if values.null_count:
            kept = pc.is_valid(values)
            values, counts = values.filter(kept), counts[kept.to_numpy(zero_copy_only=False)]
        self._parts.append((values, counts))
        self._size += len(values)
        # Doubling keeps the total cost of grouping proportional to what was added.
        if self._size > self._settled + max(_PENDING, self._settled):
            self._settle()

    def merge(self, other: "CategoryCounts") -> None:
        """Adds what another part of the rows held."""
        other._settle()
        self.error += other.error
        for values, counts in other._parts:
            self.add(values, counts)

    def result(self) -> tuple[pa.Array, Int[np.ndarray, " v"]]:
        """Values and counts, by falling count, equal counts by value."""
        self._settle()
        if not self._parts:
            return pa.array([], KINDS["text"]), np.zeros(0, np.int64)
        table = pa.table({"value": self._parts[0][0], "count": self._parts[0][1]})
        table = table.take(pc.sort_indices(table, sort_keys=[("count", "descending"), ("value", "ascending")]))
        return table["value"].combine_chunks(), table["count"].to_numpy()

    def _settle(self) -> None:
        parts = [part for part in _one_kind(self._parts) if len(part[0])]
        if len(parts) > 1 or (parts and not self._settled):
            values = pa.chunked_array([values for values, _ in parts])
            table = pa.table({"value": values, "count": np.concatenate([counts for _, counts in parts])})
            table = table.group_by("value", use_threads=False).aggregate([("count", "sum")]).combine_chunks()
            parts = [self._pruned(table["value"].combine_chunks(), table["count_sum"].to_numpy())]
        self._parts = parts
        self._size = self._settled = len(parts[0][0]) if parts else 0

    def _pruned(self, values: pa.Array, counts: np.ndarray) -> tuple[pa.Array, np.ndarray]:
        if len(counts) <= self.max_distinct:
            return values, counts
        place = len(counts) - self.max_distinct - 1
        cut = int(np.partition(counts, place)[place])  # the largest count that is not kept
        self.error += cut
        kept = counts > cut
        return values.filter(pa.array(kept)), counts[kept] - cut


def _one_kind(parts: list[tuple[pa.Array, np.ndarray]]) -> list[tuple[pa.Array, np.ndarray]]:
    """A column of floats is whole in one batch and not in the next: then all of it is numbers."""
    kinds = {kind_of(values) for values, _ in parts if len(values)}
    if kinds == {"integer", "number"}:
        return [(values.cast(KINDS["number"]), counts) for values, counts in parts]
    return parts


@final
@dataclass(frozen=True)
class Moments:
    """Count, mean and sum of squared distances from it, merged without cancellation.

    Source: Chan, Golub and LeVeque 1983.

    Example:
        >>> joined = Moments.of(np.array([1.0, 2.0])).joined(Moments.of(np.array([6.0])))
        >>> joined.mean, round(joined.deviation, 6)
        (3.0, 2.160247)
    """

    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, values: Float[np.ndarray, " n"]) -> "Moments":
        """Moments of finite values."""
        if not values.size:
            return cls()
        with np.errstate(over="ignore", invalid="ignore"):  # beyond 1e154 squares overflow; then `deviation` is infinite
            mean = float(values.mean())
            centred = values - mean
            return cls(values.size, mean, float(np.dot(centred, centred)))

    def joined(self, other: "Moments") -> "Moments":
        """Moments of both parts together."""
        count = self.count + other.count
        if not count:
            return self
        step = other.mean - self.mean
        squares = self.squares + other.squares + step * step * self.count * other.count / count
        return Moments(count, self.mean + step * other.count / count, squares)

    @property
    def deviation(self) -> float:
        """Square root of the mean squared distance from the mean; 0 where there is nothing."""
        return math.sqrt(self.squares / self.count) if self.count else 0.0
