"""Times of arms that took turns, compared round by round."""

import math
import statistics
from collections.abc import Sequence


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, tuple[float, float]]:
    """Median of the ratios within rounds, and its interval from order statistics: 95 % or more from 6 rounds on."""
    values = sorted(a / b for a, b in zip(ours, theirs, strict=True))
    n, tail, out = len(values), 0.0, 0
    while out < n // 2 and 2 * (tail + math.comb(n, out) / 2**n) <= 0.05:
        tail += math.comb(n, out) / 2**n
        out += 1
    edge = max(out - 1, 0)
    return round(statistics.median(values), 3), (round(values[edge], 3), round(values[n - 1 - edge], 3))
