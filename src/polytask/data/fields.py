"""Fitted fields: each turns one column of a table into numbers."""

from dataclasses import dataclass
from typing import final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int

from polytask.data.columns import RaggedColumn
from polytask.data.numbers import as_numbers, refuse_infinite
from polytask.data.values import split_values, value_lists
from polytask.data.vocabulary import Value, Vocabulary
from polytask.errors import Where, row_of

_LARGEST = 3e38  # a little below what float32 can hold


@final
@dataclass(frozen=True)
class CategoricalField:
    """A column of one category a row.

    Args:
        name: Column.
        vocabulary: Its ids.
    """

    name: str
    vocabulary: Vocabulary

    @property
    def size(self) -> int:
        """Number of ids."""
        return self.vocabulary.size

    @property
    def values(self) -> tuple[Value, ...]:
        """The dictionary: value i has id i + 3."""
        return self.vocabulary.values

    @property
    def buckets(self) -> int | None:
        """Number of hash buckets; None where there is a dictionary."""
        return self.vocabulary.buckets

    def encode(self, column: pa.Array) -> Int[np.ndarray, " n"]:
        """Id of each row, int32.

        Raises:
            DataError: If the column is of another kind than in training.
        """
        return self.vocabulary.ids(column, self.name)


@final
@dataclass(frozen=True)
class NumericField:
    """A column of quantities on a robust scale: `(x - center) / scale`.

    Args:
        name: Column.
        center: Median.
        scale: Interquartile range, or what stands for it (`robust_scale`).
        edges: Two or more increasing bin boundaries, in scaled units and exact in float32. Those of a column with fewer than
            two distinct values say nothing.
    """

    name: str
    center: float
    scale: float
    edges: tuple[float, ...]

    def encode(self, column: pa.Array, where: Where = row_of) -> Float[np.ndarray, " n"]:
        """Scaled values, float32; computed in float64, so that large whole numbers keep their differences. NaN is missing.

        Args:
            column: Numbers, truth values, dates or times, or text that spells numbers.
            where: Where each row stands, for messages.

        Raises:
            DataError: Names the row of an infinite or unreadable value.
        """
        values = as_numbers(column, self.name, where)
        refuse_infinite(values, self.name, where)
        return scaled(values, self.center, self.scale)


def scaled(values: Float[np.ndarray, " n"], center: float, scale: float) -> Float[np.ndarray, " n"]:
    """`(values - center) / scale` as float32; what is too far out for float32 is its largest number, not infinite.

    Example:
        >>> scaled(np.array([3.0, 1e300]), 1.0, 2.0).tolist()
        [1.0, 3.00000000549...e+38]
    """
    with np.errstate(over="ignore"):
        return np.clip((values - center) / scale, -_LARGEST, _LARGEST).astype(np.float32)


@final
@dataclass(frozen=True)
class MultiValuedField:
    """A column of any number of categories a row.

    Args:
        name: Column.
        vocabulary: Ids of the values.
        weights: Parallel list column of weights.
        separator: What splits a text column.
        weight_separator: What splits each value of a text into category and weight.
        max_length: Only so many values of a row are kept, from the front.
        pooling: How an encoder joins a row's values.
    """

    name: str
    vocabulary: Vocabulary
    weights: str | None = None
    separator: str | None = None
    weight_separator: str | None = None
    max_length: int | None = None
    pooling: str = "mean"

    @property
    def size(self) -> int:
        """Number of ids."""
        return self.vocabulary.size

    @property
    def weighted(self) -> bool:
        """Whether each value has a weight."""
        return self.weights is not None or self.weight_separator is not None

    def encode(self, batch: pa.RecordBatch, where: Where = row_of) -> RaggedColumn:
        """Ids and weights of all rows, laid flat.

        Args:
            batch: Holds the column, and the column of weights where there is one.
            where: Where each row stands, for messages.

        Raises:
            DataError: If a column is no list, lists of weights differ in length, or a weight is not finite.
        """
        lists = split_values(batch.column(self.name), self.name, self.separator)
        own = None if self.weights is None else batch.column(self.weights)
        names = (self.name, self.weights or "")
        values, lengths, weights = value_lists(lists, own, names=names, where=where, max_length=self.max_length)
        if self.weight_separator is not None:
            values, weights = split_weights(values, self.weight_separator, self.name)
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        if weights is not None:
            weights = np.nan_to_num(weights, nan=1.0).astype(np.float32)
        return RaggedColumn(self.vocabulary.ids(values, self.name), offsets, weights)


Field = CategoricalField | NumericField | MultiValuedField


def split_weights(values: pa.Array, separator: str, name: str) -> tuple[pa.Array, Float[np.ndarray, " v"]]:
    """Splits "art:2" at the last separator; a value without one weighs 1 (and so does a missing weight in a column).

    Example:
        >>> values, weights = split_weights(pa.array(["art:2", "sport"]), ":", "tags")
        >>> values.to_pylist(), weights.tolist()
        (['art', 'sport'], [2.0, 1.0])

    Raises:
        DataError: If a weight is no finite number; names the value.
    """
    parts = pc.split_pattern(values.cast(pa.large_string()), separator, max_splits=1, reverse=True)
    lengths = pc.list_value_length(parts).to_numpy(zero_copy_only=False).astype(np.int64)
    pieces, ends = parts.flatten(), np.cumsum(lengths)
    last = pa.array(ends - 1, mask=lengths < 2)
    weights = as_numbers(pieces.take(last), name, lambda place: f"value {values[place].as_py()!r}")
    refuse_infinite(weights, name, lambda place: f"value {values[place].as_py()!r}")
    return pieces.take(pa.array(ends - lengths)), np.nan_to_num(weights, nan=1.0)
