"""Labels brought into a task's encoding, and the refusal of those that are outside its domain."""

import math
from collections.abc import Callable, Iterable, Sequence

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int

from polytask.errors import ConfigError, DataError, Where, message
from polytask.tasks._column import Value, is_text, missing, numbers, plain, positions
from polytask.tasks._summary import LabelSummary

Refusal = Callable[[str], DataError]
"""Makes the error, given the received value and its row in words."""


def real_labels(labels: pa.Array | pa.ChunkedArray, column: str, where: Where, refusal: Refusal) -> Float[np.ndarray, " n"]:
    """Labels that are numbers, in float64 with NaN where missing."""
    values = plain(labels, column)
    if is_text(values):
        present = np.flatnonzero(~missing(values))
        refuse_first(values, np.isin(np.arange(len(values)), present[:1]), where, refusal)
        return np.full(len(values), np.nan)
    found = numbers(values)
    refuse_first(values, np.isinf(found), where, refusal)
    return found


def placed_labels(
    labels: pa.Array | pa.ChunkedArray, options: Sequence[Value], column: str, where: Where, refusal: Refusal
) -> Float[np.ndarray, " n"]:
    """Place of each label among the options, as float32 with NaN where missing."""
    values = plain(labels, column)
    place = positions(values, options)
    absent = missing(values)
    refuse_first(values, (place < 0) & ~absent, where, refusal)
    return np.where(absent, np.float32(np.nan), place.astype(np.float32))


def refuse_first(values: pa.Array, wrong: Bool[np.ndarray, " n"], where: Where, refusal: Refusal) -> None:
    """Raises the refusal of the first wrong row, if there is one."""
    if wrong.any():
        row = int(wrong.argmax())
        raise refusal(f"{values[row].as_py()!r} in {where(row)}")


def refuse_counted(summary: LabelSummary, options: Sequence[Value], refusal: Refusal) -> Int[np.ndarray, " k"]:
    """How many rows hold each option; raises the refusal of the first value that is none of them."""
    if summary.counts is None or summary.first_rows is None:
        raise refusal(f"more than {summary.max_distinct} distinct values")
    counts, rows = summary.counts, summary.first_rows
    place = positions(plain(pa.array(list(counts)), summary.column), options)
    for value, index in zip(counts, place, strict=True):
        if index < 0:
            raise refusal(f"{value!r} in {summary.where(rows[value])}")
    return np.bincount(place, list(counts.values()), minlength=len(options)).astype(np.int64)


def shares(counts: Int[np.ndarray, " k"]) -> tuple[float, ...]:
    """Share of each option; one that never occurs counts as half a row, so that its logarithm is finite."""
    kept = np.maximum(counts, 0.5)
    return tuple((kept / kept.sum()).tolist())


def tidy(values: Iterable[Value]) -> tuple[Value, ...]:
    """Distinct values in rising order; whole numbers as such (a column with gaps holds them as floats)."""
    return tuple(sorted(int(v) if isinstance(v, float) and v.is_integer() else v for v in values))


def softplus_inverse(gap: float) -> float:
    """The x for which `log(1 + exp(x))` is the gap."""
    return gap + math.log(-math.expm1(-gap))


def check_options(task: str, key: str, options: Sequence[Value]) -> None:
    """Refuses declared classes or levels that are no choice."""
    if options and len(set(options)) < max(len(options), 2):
        raise ConfigError(message(f"Task {task!r} needs two or more {key}, each once.", received=list(options)))


def undeclared(task: str, key: str) -> ConfigError:
    """The error of a task that is used before its classes or levels are known."""
    return ConfigError(message(f"Task {task!r} must know its {key}.", received="none", way_out="Declare them, or fit the task."))
