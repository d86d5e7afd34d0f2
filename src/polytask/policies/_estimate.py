"""The value of a policy, and how far it can be trusted."""

from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Float
from scipy.special import ndtri

from polytask.errors import DataError, message

FEW_ROWS = 100
"""Rows below which a normal interval and the percentiles of a bootstrap are not to be trusted."""
FEW_REWARDS = 20
"""Rows with a reward below which the same holds, however many rows there are: a choice, as the one above."""
_AT_A_TIME = 1 << 20


class Interval(NamedTuple):
    """A confidence interval."""

    low: float
    high: float


@final
@dataclass(frozen=True)
class Estimate:
    """An estimated value per row.

    Args:
        value: The estimate.
        standard_error: Of the estimate.
        normal: Interval from the standard error.
        bootstrap: Interval from percentiles of resampled logs; None where none was asked for.
        rows: Rows of the log.
        effective_rows: `(Σ w)² / Σ w²`: rows that would say as much without weights.
        mean_weight: Mean weight, unclipped; 1 is expected.
        clipped: Share of rows whose weight was cut.
        findings: What speaks against trusting it, each with its cause.
    """

    value: float
    standard_error: float
    normal: Interval
    bootstrap: Interval | None
    rows: int
    effective_rows: float
    mean_weight: float
    clipped: float
    findings: tuple[str, ...]


@final
@dataclass(frozen=True)
class Certainty:
    """What intervals are wanted.

    Args:
        level: Their level.
        resamples: Logs that the bootstrap draws; 0 for none. A draw costs about 10 ns a row.
        seed: Of the bootstrap.

    Raises:
        DataError: If the level is not between 0 and 1, or a number is below 0.
    """

    level: float = 0.95
    resamples: int = 1000
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.level < 1:
            raise DataError(message("A level lies between 0 and 1.", received=self.level))
        if self.resamples < 0 or self.seed < 0:
            raise DataError(message("Resamples and seed are 0 or more.", received=f"{self.resamples}, {self.seed}"))


class Weighted(NamedTuple):
    """Weights of a log, before and after they were cut."""

    raw: Float[np.ndarray, " n"]
    used: Float[np.ndarray, " n"]


def of_ratio(
    above: Float[np.ndarray, " n"],
    below: Float[np.ndarray, " n"] | None,
    weighted: Weighted,
    rewarded: int,
    certainty: Certainty,
) -> Estimate:
    """The estimate `Σ above / Σ below`, where None below is 1 a row; rows are independent.

    Its variance is that of a ratio to first order, `Σ (above - value · below)² / (n (n - 1) mean(below)²)`: for a mean this is
    the usual one.
    """
    n = len(above)
    weight = np.ones(n) if below is None else below
    if not weight.sum() > 0:
        way_out = "The log says nothing about this policy."
        raise DataError(message("The judged policy must choose some logged row.", received="weight 0 in all", way_out=way_out))
    value = float(above.sum() / weight.sum())
    spread = ((above - value * weight) ** 2).sum() / max(n - 1, 1) / n
    error = float(np.sqrt(spread) / weight.mean())
    reach = float(ndtri(0.5 + certainty.level / 2)) * error
    raw, used = weighted
    squares = float((used**2).sum())
    effective = float(used.sum()) ** 2 / squares if squares else 0.0
    return Estimate(
        value=value,
        standard_error=error,
        normal=Interval(value - reach, value + reach),
        bootstrap=_bootstrap(above, below, certainty) if certainty.resamples else None,
        rows=n,
        effective_rows=effective,
        mean_weight=float(raw.mean()),
        clipped=float((used < raw).mean()),
        findings=tuple(_findings(raw, effective, rewarded)),
    )


def _bootstrap(above: np.ndarray, below: np.ndarray | None, certainty: Certainty) -> Interval:
    """Percentiles of the estimate over logs drawn from the log, some at a time so that memory stays small."""
    n, random = len(above), np.random.default_rng(certainty.seed)
    together = max(1, _AT_A_TIME // n)
    values = []
    for start in range(0, certainty.resamples, together):
        rows = random.integers(0, n, (min(together, certainty.resamples - start), n), dtype=np.int32 if n < 2**31 else np.int64)
        total = float(n) if below is None else below.take(rows).sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):  # a drawn log without any weight says nothing
            values.append(above.take(rows).sum(axis=1) / total)
    drawn = np.concatenate(values)
    low, high = np.nanquantile(drawn, [0.5 - certainty.level / 2, 0.5 + certainty.level / 2]).tolist()
    return Interval(low, high)


def _findings(raw: np.ndarray, effective: float, rewarded: int) -> list[str]:
    found = []
    if effective < FEW_ROWS:
        found.append(
            f"The effective sample size is {effective:.1f} of {len(raw):,} rows: the judged policy does mostly what the log "
            "hardly ever shows. Intervals are too narrow; clip the weights, or log with more exploration."
        )
    if rewarded < FEW_REWARDS:
        found.append(f"Only {rewarded} rows with weight have a reward: intervals are rough.")
    off = float(raw.mean()) - 1
    if abs(off) > max(0.05, 4 * float(raw.std()) / np.sqrt(len(raw))):
        found.append(
            f"The mean weight is {1 + off:.3f}, 1 was expected: propensities are wrong, or the judged policy does what the "
            "logging policy never does. `ips` is biased by it; `snips` judges the part that is shared."
        )
    return found
