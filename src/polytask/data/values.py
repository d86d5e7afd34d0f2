"""Multi-valued columns: lists, or text that is split, laid flat."""

from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int

from polytask.data.numbers import as_numbers, refuse_infinite
from polytask.errors import DataError, Where, message


class Flat(NamedTuple):
    """The values of all rows one after the other.

    Args:
        values: v values, none of them null.
        lengths: int64 [n], how many values each row has.
        weights: float64 [v], or None.
    """

    values: pa.Array
    lengths: Int[np.ndarray, " n"]
    weights: Float[np.ndarray, " v"] | None = None


def split_values(column: pa.Array, name: str, separator: str | None) -> pa.Array:
    """A list column as it is; a text column split by `separator`.

    Raises:
        DataError: If the column is neither a list nor text with a separator.
    """
    kind = column.type
    if pa.types.is_dictionary(kind):
        return split_values(column.dictionary_decode(), name, separator)
    if pa.types.is_null(kind):
        return column.cast(pa.list_(pa.string()))
    if _is_list(kind):
        return column
    if separator is None:
        raise DataError(
            message(
                f"Column {name!r} must be a list column to be multi_valued.",
                received=str(kind),
                way_out="Give the `separator` of its text, or declare it categorical.",
            )
        )
    try:
        return pc.split_pattern(column.cast(pa.string()), separator)
    except pa.ArrowException:
        raise DataError(message(f"Column {name!r} must hold text to be split.", received=str(kind))) from None


def value_lists(
    column: pa.Array, weights: pa.Array | None, *, names: tuple[str, str], where: Where, max_length: int | None
) -> Flat:
    """Lays lists flat. Null and empty values are left out; a missing list is an empty one.

    Args:
        column: A list column.
        weights: The parallel list column, or None.
        names: Of both columns, for messages.
        where: Where each row stands, for messages.
        max_length: Only so many values of each row are kept.

    Raises:
        DataError: Names the first row in which values and weights differ in number.
    """
    values, lengths = column.flatten(), _lengths(column)
    if pa.types.is_string_view(values.type):
        values = values.cast(pa.large_string())
    own = None
    if weights is not None:
        own = _parallel(weights, lengths, names, where)
    kept = _is_value(values)
    if max_length is not None:
        starts = np.cumsum(lengths) - lengths
        places = np.cumsum(kept) - 1  # among the values that are kept
        before = np.append(0, np.cumsum(kept))[starts]
        kept &= places - np.repeat(before, lengths) < max_length
    if not kept.all():
        values = values.filter(pa.array(kept))
        own = None if own is None else own[kept]
        lengths = np.bincount(np.repeat(np.arange(len(lengths)), lengths)[kept], minlength=len(lengths))
    return Flat(values, lengths, own)


def _is_list(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_list(kind)
        or pa.types.is_large_list(kind)
        or pa.types.is_fixed_size_list(kind)
        or pa.types.is_list_view(kind)
        or pa.types.is_large_list_view(kind)
    )


def _lengths(column: pa.Array) -> Int[np.ndarray, " n"]:
    lengths: np.ndarray = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    return lengths.astype(np.int64)


def _is_value(values: pa.Array) -> np.ndarray:
    kept = values.is_valid()
    if pa.types.is_string(values.type) or pa.types.is_large_string(values.type):
        kept = pc.and_(kept, pc.greater(pc.binary_length(values).fill_null(0), 0))
    elif pa.types.is_floating(values.type):
        kept = pc.and_(kept, pc.invert(pc.is_nan(values).fill_null(True)))
    return np.array(kept.to_numpy(zero_copy_only=False), bool)


def _parallel(weights: pa.Array, lengths: np.ndarray, names: tuple[str, str], where: Where) -> Float[np.ndarray, " v"]:
    if not _is_list(weights.type):
        raise DataError(message(f"Weights {names[1]!r} must be a list column.", received=str(weights.type)))
    differ = np.flatnonzero(_lengths(weights) != lengths)
    if differ.size:
        row = int(differ[0])
        raise DataError(
            message(
                f"Columns {names[0]!r} and {names[1]!r} must have lists of one length.",
                received=f"{lengths[row]} values and {_lengths(weights)[row]} weights in {where(row)}",
            )
        )
    rows = np.repeat(np.arange(len(lengths)), lengths)
    numbers = as_numbers(weights.flatten(), names[1], lambda place: where(int(rows[place])))
    refuse_infinite(numbers, names[1], where, rows=rows)
    return numbers
