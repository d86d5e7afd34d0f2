"""A column of any type as a moderate number of slices."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Shaped

from polytask.metrics import equal_mass_bins

_BINS = 10


def slices_of(column: pa.Array | pa.ChunkedArray, *, most: int = 20) -> Shaped[np.ndarray, " n"]:
    """Name of the slice of each row.

    A column with few distinct values has a slice each. Numbers with more are cut into ten bins of equal mass, named by their
    ends; of other values the most frequent have a slice each, and "(other)" has the rest. "(missing)" is a slice of its own.

    Args:
        column: Values of the rows.
        most: Distinct values up to which each has a slice.

    Example:
        >>> slices_of(pa.array(["phone", None, "desktop"])).tolist()
        ['phone', '(missing)', 'desktop']
    """
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    found = column.value_counts()
    present = [item for item in found.to_pylist() if item["values"] is not None]
    kind = column.type
    if len(present) > most and (pa.types.is_floating(kind) or pa.types.is_integer(kind) or pa.types.is_decimal(kind)):
        return _bins(pc.cast(column, pa.float64()).to_numpy(zero_copy_only=False))
    kept = {item["values"] for item in sorted(present, key=lambda item: -item["counts"])[:most]}
    named = {value: str(value) if value in kept else "(other)" for value in (item["values"] for item in present)}
    return np.array([named.get(value, "(missing)") for value in column.to_pylist()])


def _bins(values: np.ndarray) -> np.ndarray:
    present = ~np.isnan(values)
    names = np.full(len(values), "(missing)", dtype=object)
    bins = equal_mass_bins(values[present], np.ones(int(present.sum())), _BINS)
    some = np.empty(len(bins), dtype=object)
    for number in np.unique(bins):
        inside = values[present][bins == number]
        some[bins == number] = f"{inside.min():g} to {inside.max():g}"
    names[present] = some
    return names.astype(str)
