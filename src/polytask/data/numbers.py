"""Columns of any Arrow type as float64."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Float, Int

from polytask.errors import DataError, Where, message, row_of

_PER_SECOND = {"s": 1.0, "ms": 1e3, "us": 1e6, "ns": 1e9}


def as_numbers(column: pa.Array, name: str, where: Where = row_of) -> Float[np.ndarray, " n"]:
    """A column as float64, NaN where missing.

    Truth values become 0 and 1; dates and times seconds since 1970 (times of day: since midnight), durations seconds; decimals
    the nearest float; text the number it spells.

    Example:
        >>> import datetime
        >>> as_numbers(pa.array([True, None]), "x").tolist(), as_numbers(pa.array([datetime.date(1970, 1, 2)]), "day").tolist()
        ([1.0, nan], [86400.0])

    Args:
        column: One value a row.
        name: For messages.
        where: Where each row stands, for messages.

    Raises:
        DataError: If the column is nested or of bytes, or a text is no number (names the row).
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return _spelled(column.cast(pa.string()), name, where)
    if pa.types.is_temporal(kind) and not pa.types.is_interval(kind):
        return _seconds(column)
    if pa.types.is_nested(kind) or not _is_number_type(kind):
        raise DataError(
            message(f"Column {name!r} must be numeric.", received=str(kind), way_out="Declare it multi_valued or leave it out.")
        )
    return _floats(column)


def _is_number_type(kind: pa.DataType) -> bool:
    plain = pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)
    return bool(plain or pa.types.is_decimal(kind) or pa.types.is_null(kind))


def _seconds(column: pa.Array) -> Float[np.ndarray, " n"]:
    whole = _floats(column.cast(pa.int32() if column.type.bit_width == 32 else pa.int64()))
    if pa.types.is_date32(column.type):
        return whole * 86_400.0
    return whole / (1e3 if pa.types.is_date64(column.type) else _PER_SECOND[column.type.unit])


def refuse_infinite(
    values: Float[np.ndarray, " v"], name: str, where: Where = row_of, *, rows: Int[np.ndarray, " v"] | None = None
) -> None:
    """Refuses infinite values; NaN passes.

    Raises:
        DataError: Names column, row and value. Where values are not one a row, `rows` gives the row of each.
    """
    # NaN - NaN and inf - inf are both NaN, so one sum finds whether a closer look is needed.
    with np.errstate(over="ignore", invalid="ignore"):
        if np.isfinite(values.sum()):
            return
    infinite = np.flatnonzero(np.isinf(values))
    if infinite.size:
        place = int(infinite[0])
        row = int(place if rows is None else rows[place])
        raise DataError(
            message(
                f"Column {name!r} must hold finite numbers.",
                received=f"{values[place]} in {where(row)}",
                way_out="Clip it, or leave the value empty.",
            )
        )


def _floats(column: pa.Array) -> Float[np.ndarray, " n"]:
    floats = column.cast(pa.float64(), safe=False)
    if floats.null_count:
        floats = floats.fill_null(np.nan)
    values: np.ndarray = floats.to_numpy(zero_copy_only=False)
    return values


def _spelled(column: pa.Array, name: str, where: Where) -> Float[np.ndarray, " n"]:
    text = pc.utf8_trim_whitespace(column)
    text = pc.if_else(pc.equal(text, ""), None, text)
    try:
        return _floats(text.cast(pa.float64()))
    except pa.ArrowInvalid:
        row, value = next((row, value) for row, value in enumerate(text.to_pylist()) if not _is_number(value))
    raise DataError(
        message(
            f"Column {name!r} must be numeric.",
            received=f"{value!r} in {where(row)}",
            way_out="Declare it categorical, or name the words that mean missing (`null_values`).",
        )
    )


def _is_number(text: str | None) -> bool:
    try:
        pa.scalar(text, pa.string()).cast(pa.float64())
    except pa.ArrowInvalid:
        return False
    return True
