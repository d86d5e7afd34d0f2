"""Centre, scale and bin boundaries of a numeric column."""

import numpy as np
from jaxtyping import Bool, Float

from polytask.data.quantiles import Distribution, QuantileSketch

# A value on this share of the rows is a spike (the zeros of a zero-inflated column): it gets boundaries on both sides.
_SPIKE = 0.1


def robust_scale(distribution: Distribution, deviation: float) -> tuple[float, float]:
    """Median and interquartile range.

    Where half of the rows hold one value the range is 0 and says nothing of the others: then it is the range of the rest, then
    the standard deviation, then 1.

    Example:
        >>> robust_scale(Distribution(np.array([0.0, 10.0, 20.0, 30.0]), np.array([96, 1, 2, 1])), 4.2)
        (0.0, 5.0)
    """
    if not len(distribution.values):
        return 0.0, 1.0
    center = distribution.quantile(0.5)
    rest = distribution.without(distribution.values[[np.argmax(distribution.counts)]])
    for part in (distribution, rest):
        if len(part.values):
            scale = part.quantile(0.75) - part.quantile(0.25)
            if scale > 0 and np.isfinite(scale):
                return center, scale
    return center, deviation if deviation > 0 and np.isfinite(deviation) else 1.0


def boundaries(sketch: QuantileSketch, bins: int) -> Float[np.ndarray, " b"]:
    """At most `bins` + 1 increasing boundaries that follow the mass of a column without drowning in its spikes.

    Few distinct values are all boundaries. Otherwise a value that alone fills a bin of average size is a boundary, and is taken
    out; what is a bin of average size among the rest is decided anew, until nothing more stands out. The remaining boundaries
    are the quantiles of the rest, from its smallest to its largest value. A spike also gets its nearest neighbours, so
    that a piecewise-linear function may take any value on it alone.

    Source: the mean bin size that shrinks with the values taken out is the greedy search of LightGBM's `bin.cpp`.
    Differs: boundaries are values of the data, not mid-points.

    Example:
        >>> sketch = QuantileSketch()
        >>> sketch.add(np.concatenate([np.zeros(9000), np.arange(1.0, 1001.0)]))
        >>> boundaries(sketch, 4).tolist()
        [0.0, 1.0, 334.0, 667.0, 1000.0]
    """
    distribution = sketch.distribution()
    if len(distribution.values) <= bins + 1:
        return distribution.values
    heavy = _heavy(sketch, bins)
    rest = distribution.without(heavy)
    room = max(bins - 1 - len(heavy), 0)  # the two ends keep their places
    chosen = np.concatenate([heavy, _beside_spikes(sketch, rest)[:room]]) if len(rest.values) else heavy
    free = bins + 1 - len(np.unique(chosen))
    spread = _spread(rest, free, chosen)
    # A sketch may not hold the very ends.
    if len(spread) and sketch.minimum < distribution.values[0]:
        spread[0] = sketch.minimum
    if len(spread) and sketch.maximum > distribution.values[-1]:
        spread[-1] = sketch.maximum
    return np.unique(np.concatenate([chosen, spread]))


def _heavy(sketch: QuantileSketch, bins: int) -> Float[np.ndarray, " h"]:
    values, counts = sketch.frequent(1 / (4 * bins))
    heavy: Bool[np.ndarray, " v"] = np.zeros(len(values), bool)
    while heavy.sum() < bins - 1:
        mean = (sketch.count - counts[heavy].sum()) / (bins - heavy.sum())
        more = ~heavy & (counts > mean)
        if not more.any():
            break
        # The heaviest first: each that is taken out lowers the bar for the others.
        heavy[np.argmax(np.where(more, counts, 0))] = True
    found: np.ndarray = values[heavy]
    return found


def _beside_spikes(sketch: QuantileSketch, rest: Distribution) -> Float[np.ndarray, " s"]:
    spikes, _ = sketch.frequent(_SPIKE)
    after = np.searchsorted(rest.values, spikes, side="right")
    places = np.concatenate([after - 1, after])
    beside: np.ndarray = rest.values[np.unique(places[(places >= 0) & (places < len(rest.values))])]
    return beside


def _spread(rest: Distribution, number: int, chosen: Float[np.ndarray, " c"]) -> Float[np.ndarray, " q"]:
    """Up to `number` further boundaries at equal shares of the rest, its ends included."""
    if number <= 0 or not len(rest.values):
        return np.zeros(0)
    ends = np.cumsum(rest.counts)
    found = np.zeros(0)
    # Quantiles may fall on boundaries that exist already; then there is room for a finer spread.
    for pieces in range(max(number, 2), 4 * number + 2):
        ranks = np.round(np.linspace(0, int(ends[-1]) - 1, pieces)).astype(np.int64)
        finer = np.setdiff1d(rest.values[np.searchsorted(ends, ranks, side="right")], chosen)
        if len(finer) > number:
            break
        found = finer
        if len(found) == number:
            break
    return found
