"""The distinct values of a column of categories, whatever its Arrow type, in one of four plain kinds."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int

from polytask.errors import DataError, message

KINDS = {"boolean": pa.bool_(), "integer": pa.int64(), "number": pa.float64(), "text": pa.large_string()}
_WHOLE = r"^-?[0-9]{1,18}$"


class Distinct(NamedTuple):
    """A column as places in the list of its distinct values.

    Args:
        values: The values, in one of the types of `KINDS`; null where the place stands for a missing one.
        codes: Place of each row's value in `values`; -1 where missing.
    """

    values: pa.Array
    codes: Int[np.ndarray, " n"]

    @property
    def kind(self) -> str:
        """The kind of the values."""
        return kind_of(self.values)

    def counts(self) -> Int[np.ndarray, " v"]:
        """How many rows hold each value."""
        return np.bincount(self.codes + 1, minlength=len(self.values) + 1)[1:]


def distinct(column: pa.Array, name: str) -> Distinct:
    """Finds the distinct values of a column.

    Truth values, whole numbers and text keep their kind; numbers that are all whole count as whole ones (a code with gaps
    often comes as float); dates, times, decimals and unsigned 64-bit numbers are taken as their text.

    Example:
        >>> distinct(pa.array([7.0, None, 7.0, 3.0]), "code")
        Distinct(values=<pyarrow.lib.Int64Array object at ...>
        [
          7,
          3
        ], codes=array([ 0, -1,  0,  1], dtype=int32))

    Args:
        column: Any column that is not nested.
        name: Its name, for messages.

    Raises:
        DataError: If the column is nested or holds bytes that are no text.
    """
    if pa.types.is_dictionary(column.type):
        if len(column.dictionary) > len(column):
            column = column.dictionary_decode()
    elif pa.types.is_nested(column.type):
        raise DataError(
            message(
                f"Column {name!r} must hold one value a row to be categorical.",
                received=str(column.type),
                way_out="Declare it multi_valued.",
            )
        )
    if pa.types.is_string_view(column.type) or pa.types.is_binary_view(column.type):
        column = column.cast(pa.large_string() if pa.types.is_string_view(column.type) else pa.large_binary())
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    codes = column.indices.cast(pa.int32(), safe=False).fill_null(-1).to_numpy(zero_copy_only=False)
    return Distinct(_plain(column.dictionary, name), codes)


def kind_of(values: pa.Array) -> str:
    """Name of the type of plain values."""
    return next(name for name, kind in KINDS.items() if kind.equals(values.type))


def as_kind(values: pa.Array, kind: str, name: str) -> pa.Array:
    """Plain values in the kind in which a dictionary was fitted; null where a value cannot be of that kind.

    Whole numbers and text that spells them are the same values: files differ in what they make of a code.

    Raises:
        DataError: If the column is of another kind altogether.
    """
    own = kind_of(values)
    if own == kind:
        return values
    if values.null_count == len(values):  # nothing there, so nothing of a wrong kind
        return pa.nulls(len(values), KINDS[kind])
    change = _CHANGES.get((own, kind))
    changed = None if change is None else change(values)
    if changed is None or changed.null_count == len(changed):
        example = values.drop_null()[0].as_py()
        raise DataError(
            message(
                f"Column {name!r} must hold {kind} categories as in training.",
                received=f"{own} {example!r}",
                way_out="Write the column as it was then.",
            )
        )
    return changed


def _spelled_whole(values: pa.Array) -> pa.Array:
    values = values.cast(pa.string())
    return pc.if_else(pc.match_substring_regex(values, _WHOLE), values, None).cast(pa.int64())


def _truth(values: pa.Array) -> pa.Array:
    return pc.if_else(pc.is_in(values, pa.array([0, 1])), values, None).cast(pa.bool_())


def _plain(values: pa.Array, name: str) -> pa.Array:
    kind = values.type
    if pa.types.is_null(kind):
        return values.cast(KINDS["text"])
    if pa.types.is_boolean(kind):
        return values
    if pa.types.is_floating(kind):
        values = values.cast(pa.float64())
        if pc.any(pc.is_inf(values)).as_py():
            raise DataError(message(f"Column {name!r} must hold categories.", received="inf", way_out="Leave the value empty."))
        values = pc.if_else(pc.is_nan(values), None, values)
        whole = _if_whole(values)
        return whole.cast(pa.int64()) if whole.null_count == values.null_count else values
    if pa.types.is_integer(kind) and not pa.types.is_uint64(kind):
        return values.cast(pa.int64())
    try:
        return values.cast(KINDS["text"])
    except pa.ArrowException as error:
        raise DataError(
            message(f"Column {name!r} must hold categories.", received=f"{kind}: {error}", way_out="Cast it to text.")
        ) from None


def _if_whole(values: pa.Array) -> pa.Array:
    # Beyond 2^53 floats are whole by necessity and say nothing about codes.
    return pc.if_else(pc.and_(pc.equal(pc.round(values), values), pc.less(pc.abs(values), 2.0**53)), values, None)


_CHANGES: dict[tuple[str, str], Callable[[pa.Array], pa.Array]] = {
    ("integer", "text"): lambda values: values.cast(KINDS["text"]),
    ("boolean", "text"): lambda values: values.cast(KINDS["text"]),
    ("text", "integer"): _spelled_whole,
    ("boolean", "integer"): lambda values: values.cast(pa.int64()),
    ("number", "integer"): lambda values: _if_whole(values).cast(pa.int64()),
    ("integer", "number"): lambda values: values.cast(pa.float64()),
    ("integer", "boolean"): _truth,
}
