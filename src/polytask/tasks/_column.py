"""Label columns of any Arrow type, brought to few plain ones: booleans, whole numbers, float64, text."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Bool, Float, Int

from polytask.errors import DataError, message

Value = str | int | float | bool


def plain(values: pa.Array | pa.ChunkedArray, column: str) -> pa.Array:
    """The same values as booleans, whole numbers, float64 or text; NaN becomes null: both mean missing.

    Raises:
        DataError: If the column holds dates, lists or anything else that no task can read.
    """
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    kind = values.type
    if pa.types.is_dictionary(kind):
        return plain(values.dictionary_decode(), column)
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        numbers_only = pc.cast(values, pa.float64(), safe=False)
        return pc.if_else(pc.is_nan(numbers_only), pa.scalar(None, pa.float64()), numbers_only)
    if pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_null(kind):
        return values
    if is_text(values) or pa.types.is_string_view(kind):
        return pc.cast(values, pa.large_string())
    raise DataError(
        message(f"Label column {column!r} must hold numbers, booleans or text.", received=str(kind), way_out="Cast it.")
    )


def is_text(values: pa.Array) -> bool:
    """Whether a plain column holds text."""
    return bool(pa.types.is_string(values.type) or pa.types.is_large_string(values.type))


def numbers(values: pa.Array) -> Float[np.ndarray, " n"]:
    """A plain column that is not text, as float64 with NaN where missing."""
    return np.asarray(pc.cast(values, pa.float64(), safe=False).to_numpy(zero_copy_only=False), dtype=np.float64)


def missing(values: pa.Array) -> Bool[np.ndarray, " n"]:
    """True where a plain column has no value."""
    return np.asarray(values.is_null().to_numpy(zero_copy_only=False), dtype=bool)


def positions(values: pa.Array, options: Sequence[Value]) -> Int[np.ndarray, " n"]:
    """Place of each value among `options`; -1 where it is none of them or missing.

    Text matches an option that reads the same, so that `"3"` of one file finds the class 3 of another.
    """
    if is_text(values):
        wanted = pa.array([str(option) for option in options], pa.large_string())
        values = pc.cast(values, pa.large_string())
    elif all(isinstance(option, int) for option in options) and not pa.types.is_uint64(values.type):
        whole = not pa.types.is_floating(values.type)
        wanted = pa.array([int(option) for option in options], pa.int64()).cast(pa.int64() if whole else pa.float64(), safe=False)
    else:
        wanted = pa.array([_number(option) for option in options], pa.float64())
    found = pc.index_in(pc.cast(values, wanted.type, safe=False), value_set=wanted, skip_nulls=True)
    return np.asarray(found.fill_null(-1).to_numpy(zero_copy_only=False), dtype=np.int64)


def _number(option: Value) -> float | None:
    """What a numeric column would have to hold to be this option; None where no number can be it."""
    try:
        return float(option)
    except ValueError:
        return None
