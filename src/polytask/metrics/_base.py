"""What every metric is: a number that judges predictions of one task."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float


@final
class Undefined(float):
    """Not a number, with the reason: what a metric gives where its definition gives nothing.

    Example:
        >>> value = Undefined("only one class occurs")
        >>> value == value, value.reason
        (False, 'only one class occurs')

    Args:
        reason: Why there is no value.
    """

    __slots__ = ("reason",)

    reason: str

    def __new__(cls, reason: str) -> "Undefined":
        value = super().__new__(cls, "nan")
        value.reason = reason
        return value

    def __repr__(self) -> str:
        return f"nan ({self.reason})"

    def __reduce__(self) -> tuple[type["Undefined"], tuple[str]]:
        return Undefined, (self.reason,)


NO_ROW = "no observed row"


@final
@dataclass(frozen=True)
class Metric:
    """A metric and what must be known to use it.

    Args:
        function: `function(label, prediction, weight=None, **options) -> float`.
        kinds: Kinds of task it judges.
        greater_is_better: Direction; None where the best value lies between (a ratio of 1), so that it cannot choose a model.
        from_task: Attributes of the task that it takes as options.
        grouped: Whether it takes `groups`, one number a row.
    """

    function: Callable[..., float]
    kinds: tuple[str, ...]
    greater_is_better: bool | None
    from_task: tuple[str, ...] = ()
    grouped: bool = False

    @property
    def description(self) -> str:
        """First line of its docstring."""
        return (self.function.__doc__ or "").strip().splitlines()[0]


def weights_of(label: Float[np.ndarray, " n"], weight: Float[np.ndarray, " n"] | None) -> Float[np.ndarray, " n"]:
    """Weights of the rows in float64; ones where there are none."""
    return np.ones(len(label)) if weight is None else weight.astype(np.float64)


def mean(values: Float[np.ndarray, " n"], weight: Float[np.ndarray, " n"] | None) -> float:
    """Weighted mean in float64, or `Undefined` where nothing has weight."""
    weight = weights_of(values, weight)
    total = float(weight.sum())
    return float(weight @ values.astype(np.float64)) / total if total > 0 else Undefined(NO_ROW)
