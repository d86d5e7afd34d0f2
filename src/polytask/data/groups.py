"""The group of a row (list, session, user) as a number."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int

from polytask.data.hashing import hash_text
from polytask.errors import DataError, Where, message, row_of


def group_numbers(column: pa.Array, name: str, where: Where = row_of) -> Int[np.ndarray, " n"]:
    """A number for the group of each row, the same in every batch and table: whole numbers as they are, else a 64-bit hash.

    Example:
        >>> group_numbers(pa.array([7, 7, -2]), "session").tolist()
        [7, 7, -2]

    Args:
        column: One group a row: whole numbers, texts, or whatever can be written as text.
        name: For messages.
        where: Where each row stands, for messages.

    Raises:
        DataError: If a row has no group (names it), or the column is nested.
    """
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if column.null_count:
        row = int(np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))[0])
        way_out = "A row that is ranked with no other needs a group of its own."
        raise DataError(
            message(f"Every row needs its group in column {name!r}.", received=f"none in {where(row)}", way_out=way_out)
        )
    if pa.types.is_integer(column.type):
        numbers: np.ndarray = column.to_numpy(zero_copy_only=False).astype(np.int64)
        return numbers
    if pa.types.is_nested(column.type):
        raise DataError(message(f"Groups in column {name!r} must be numbers or texts.", received=str(column.type)))
    return hash_text(pc.cast(column, pa.large_string())).view(np.int64)
