"""The distribution of a numeric column in bounded memory: exact while few values differ, a sketch with a known bound after."""

from typing import NamedTuple, final

import numpy as np
from jaxtyping import Float, Int

_CHUNK = 1 << 15  # values that are sorted together
_LEVEL = 1 << 12  # items of a level before it is halved: rank error <= rows * levels / _LEVEL, about 0.4 % at 10^9 rows
_EXACT = 1 << 14  # distinct values up to which counts are exact
_FREQUENT = 8  # of a chunk: values seen less often are not candidates for frequent ones
_CANDIDATES = 1 << 12  # frequent values that are tracked


class Distribution(NamedTuple):
    """Increasing distinct values and how often each occurs; `error` bounds how far any rank may be off.

    Args:
        values: float64 [v], strictly increasing.
        counts: int64 [v].
        error: Largest difference between a rank here and the true one; 0 where exact.
    """

    values: Float[np.ndarray, " v"]
    counts: Int[np.ndarray, " v"]
    error: int = 0

    def quantile(self, share: float) -> float:
        """The value below which this share of the rows lies, interpolated between neighbours as `numpy.quantile` does.

        Example:
            >>> Distribution(np.array([1.0, 3.0]), np.array([1, 1])).quantile(0.5)
            2.0
        """
        ends = np.cumsum(self.counts)
        place = share * (int(ends[-1]) - 1)
        low, high = self.values[np.searchsorted(ends, [np.floor(place), np.ceil(place)], side="right")]
        with np.errstate(over="ignore"):
            return float(low + (high - low) * (place - np.floor(place)))

    def without(self, values: Float[np.ndarray, " w"]) -> "Distribution":
        """What remains when some values are taken out."""
        kept = ~np.isin(self.values, values)
        return Distribution(self.values[kept], self.counts[kept], self.error)


@final
class QuantileSketch:
    """Ranks and frequent values of a stream of finite numbers.

    As long as at most 16,384 values differ, everything is exact. After that, ranks come from a deterministic compactor
    hierarchy (items of level i stand for 2^i rows; a full level is sorted and every second item moves up), and frequent values
    from Misra-Gries counts over chunks. `distribution().error` is the bound that really holds for what was seen.

    Cost: one sort of each value in chunks of 32,768; at most about 1 MB a column at 10^9 rows.

    Source: Manku, Rajagopalan and Lindsay 1998; levels as in Karnin, Lang and Liberty 2016. Differs: halving alternates
    between odd and even items instead of tossing a coin, so the same rows always give the same sketch.

    Example:
        >>> sketch = QuantileSketch()
        >>> sketch.add(np.arange(101.0))
        >>> sketch.distribution().quantile(0.25), sketch.distribution().error
        (25.0, 0)
    """

    def __init__(self) -> None:
        self.count = 0
        self.minimum, self.maximum = np.inf, -np.inf
        self._waiting: list[np.ndarray] = []
        self._num_waiting = 0
        self._exact: tuple[np.ndarray, np.ndarray] | None = (np.zeros(0), np.zeros(0, np.int64))
        self._levels: list[list[np.ndarray]] = []
        self._odd: list[bool] = []
        self._error = 0
        self._frequent = (np.zeros(0), np.zeros(0, np.int64))
        self._frequent_error = 0

    def add(self, values: Float[np.ndarray, " n"]) -> None:
        """Adds finite values."""
        self.count += len(values)
        self.minimum, self.maximum = values.min(initial=self.minimum), values.max(initial=self.maximum)
        self._waiting.append(np.array(values, np.float64))
        self._num_waiting += len(values)
        if self._num_waiting >= _CHUNK:
            waiting = np.concatenate(self._waiting)
            whole = len(waiting) // _CHUNK * _CHUNK
            for start in range(0, whole, _CHUNK):
                self._take(waiting[start : start + _CHUNK])
            self._waiting, self._num_waiting = [waiting[whole:].copy()], len(waiting) - whole

    def merge(self, other: "QuantileSketch") -> None:
        """Adds what another part of the rows held."""
        for part in other._waiting:
            self.add(part)
        self.count += other.count - other._num_waiting
        self.minimum, self.maximum = min(self.minimum, other.minimum), max(self.maximum, other.maximum)
        if other._exact is not None:
            self._take_counted(*other._exact)
            return
        self._give_up_exactness()
        for level, parts in enumerate(other._levels):
            self._push(level, np.concatenate(parts) if parts else np.zeros(0))
        self._error += other._error
        self._frequent_error += other._frequent_error
        self._track(*other._frequent)

    def distribution(self) -> Distribution:
        """The values seen, with their counts; items of a sketch stand for 2^level rows each."""
        waiting = np.concatenate([np.zeros(0), *self._waiting])
        if self._exact is not None:
            return Distribution(
                *_counted(np.concatenate([self._exact[0], waiting]), np.concatenate([self._exact[1], _ones(waiting)]))
            )
        items, weights = [waiting], [_ones(waiting)]
        for level, parts in enumerate(self._levels):
            items += parts
            weights += [np.full(len(part), 1 << level, np.int64) for part in parts]
        return Distribution(*_counted(np.concatenate(items), np.concatenate(weights)), self._error)

    def frequent(self, share: float) -> tuple[Float[np.ndarray, " v"], Int[np.ndarray, " v"]]:
        """Values that hold at least this share of the rows, increasing, with counts.

        Exact while the sketch is; later a count may be too low by 1 / 2048 of the rows.
        """
        if self._exact is not None:
            values, counts, _ = self.distribution()
        else:
            waiting = np.concatenate([np.zeros(0), *self._waiting])
            values, counts = _counted(
                np.concatenate([self._frequent[0], waiting]), np.concatenate([self._frequent[1], _ones(waiting)])
            )
        # A tracked count is too low by at most `_frequent_error`: adding half of that centres the error.
        chosen = counts + self._frequent_error // 2 >= max(share * self.count, 1)
        return values[chosen], counts[chosen]

    def _take(self, chunk: np.ndarray) -> None:
        chunk.sort()
        if self._exact is not None:
            ends = np.append(np.flatnonzero(chunk[1:] != chunk[:-1]), len(chunk) - 1)
            self._take_counted(chunk[ends], np.diff(ends, prepend=-1))
            return
        ends = np.append(np.flatnonzero(chunk[1:] != chunk[:-1]), len(chunk) - 1)
        counts = np.diff(ends, prepend=-1)
        often = counts >= _FREQUENT
        self._frequent_error += _FREQUENT - 1
        self._track(chunk[ends[often]], counts[often])
        # Every eighth item of a sorted chunk, from the middle of its eight, stands for 8 rows; a rank moves by at most 4.
        self._error += 4
        self._push(3, chunk[4::8])

    def _take_counted(self, values: np.ndarray, counts: np.ndarray) -> None:
        if self._exact is not None:
            known, known_counts = self._exact
            self._exact = _counted(np.concatenate([known, values]), np.concatenate([known_counts, counts]))
            if len(self._exact[0]) > _EXACT:
                self._give_up_exactness()
            return
        self._track(values, counts)
        # A count is a sum of powers of two: bit i of it puts the value on level i. Nothing is lost.
        for level in range(int(counts.max(initial=0)).bit_length()):
            self._push(level, values[(counts >> level) & 1 == 1])

    def _give_up_exactness(self) -> None:
        if self._exact is not None:
            values, counts = self._exact
            self._exact = None
            self._take_counted(values, counts)

    def _push(self, level: int, items: np.ndarray) -> None:
        while len(self._levels) <= level + 1:
            self._levels.append([])
            self._odd.append(False)
        self._levels[level].append(items)
        if sum(map(len, self._levels[level])) >= 2 * _LEVEL:
            items = np.sort(np.concatenate(self._levels[level]))
            even = len(items) // 2 * 2
            self._levels[level] = [items[even:]]
            self._error += 1 << level  # at most one pair straddles a rank, and counts 2^level too much or too little
            self._push(level + 1, items[int(self._odd[level]) : even : 2])
            self._odd[level] = not self._odd[level]

    def _track(self, values: np.ndarray, counts: np.ndarray) -> None:
        values, counts = _counted(np.concatenate([self._frequent[0], values]), np.concatenate([self._frequent[1], counts]))
        if len(values) > _CANDIDATES:
            place = len(counts) - _CANDIDATES - 1
            cut = int(np.partition(counts, place)[place])
            self._frequent_error += cut
            values, counts = values[counts > cut], counts[counts > cut] - cut
        self._frequent = values, counts


def _counted(values: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distinct values, increasing, with the sums of their counts."""
    order = np.argsort(values, kind="stable")
    values, counts = values[order], counts[order]
    starts = np.flatnonzero(np.append(True, values[1:] != values[:-1])) if len(values) else np.zeros(0, np.int64)
    return values[starts] + 0.0, np.add.reduceat(counts, starts) if len(starts) else counts.astype(np.int64)


def _ones(values: np.ndarray) -> np.ndarray:
    return np.ones(len(values), np.int64)
