"""Encoded rows in as few bytes as they need: the form in which they are stored, buffered and gathered."""

from dataclasses import dataclass, field
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Int

from polytask.data.columns import Columns, RaggedColumn
from polytask.errors import DataError, message

# Ids below 2^16 are kept in two bytes; the few fields with more ids keep their upper half in a second matrix.
_HALF = 16
# Above this share of large fields the halves cost more than they save (strided copies), and ids are kept whole.
_MAX_LARGE_SHARE = 0.25


class FlatArray(NamedTuple):
    """One matrix of the store: `width` numbers a row."""

    name: str
    dtype: str
    width: int

    @property
    def row_bytes(self) -> int:
        """Bytes of one row."""
        return np.dtype(self.dtype).itemsize * self.width


class FlatRagged(NamedTuple):
    """One multi-valued column of the store: offsets of the rows, ids, and weights where it has any."""

    name: str
    dtype: str
    weighted: bool


@final
@dataclass(frozen=True)
class Layout:
    """Which matrices hold the rows of one preprocessing, and how ids are narrowed.

    Ids take one byte where every field has at most 256, else two; the upper halves of the few fields with more than 65536 are
    a matrix of their own. Against four bytes an id, a row of forty fields takes half the room on disk and in the page cache, and
    gathering a batch of them costs two thirds of the time, widening included.

    Args:
        sizes: Number of ids of each categorical field.
        num_numeric: Number of numeric fields.
        labels: Names of the tasks whose labels are kept.
        weighted: Whether rows carry a weight.
        ragged: Name, number of ids, and whether it has weights, of each multi-valued field.

    Example:
        >>> Layout(sizes=(10, 300), num_numeric=3, labels=("click",)).row_bytes
        20
    """

    sizes: tuple[int, ...]
    num_numeric: int
    labels: tuple[str, ...] = ()
    weighted: bool = False
    ragged: tuple[tuple[str, int, bool], ...] = ()
    large: tuple[int, ...] = field(init=False)
    arrays: tuple[FlatArray, ...] = field(init=False)
    lists: tuple[FlatRagged, ...] = field(init=False)

    def __post_init__(self) -> None:
        large = tuple(position for position, size in enumerate(self.sizes) if size > 1 << _HALF)
        whole = len(large) > _MAX_LARGE_SHARE * len(self.sizes)
        largest = max(self.sizes, default=0)
        dtype = "int32" if whole else "uint8" if largest <= 256 else "uint16"
        arrays = [
            FlatArray("categorical", dtype, len(self.sizes)),
            FlatArray("categorical_high", "uint16", 0 if whole else len(large)),
            FlatArray("numeric", "float32", self.num_numeric),
            FlatArray("labels", "float32", len(self.labels)),
            FlatArray("weight", "float32", int(self.weighted)),
        ]
        object.__setattr__(self, "large", () if whole else large)
        object.__setattr__(self, "arrays", tuple(array for array in arrays if array.width))
        object.__setattr__(self, "lists", tuple(FlatRagged(name, _narrowest(size), w) for name, size, w in self.ragged))

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, without the values of multi-valued columns."""
        return sum(array.row_bytes for array in self.arrays) + 8 * len(self.lists)

    def pack(self, columns: Columns) -> "Packed":
        """The same rows in this layout.

        Raises:
            DataError: If the columns are not those the layout was made for.
        """
        self._check(columns)
        low = columns.categorical.astype(self.arrays[0].dtype) if self.sizes else columns.categorical
        whole = {
            "categorical": low,
            "categorical_high": (columns.categorical[:, list(self.large)] >> _HALF).astype(np.uint16),
            "numeric": columns.numeric.astype(np.float32, copy=False),
            "labels": np.stack([columns.labels[name] for name in self.labels], axis=1) if self.labels else low,
            "weight": low if columns.weight is None else columns.weight[:, None],
        }
        arrays = {array.name: np.ascontiguousarray(whole[array.name], dtype=array.dtype) for array in self.arrays}
        lists = {name: _narrow(columns.ragged[name], dtype) for name, dtype, _ in self.lists}
        return Packed(self, columns.num_rows, arrays, lists)

    def _check(self, columns: Columns) -> None:
        received = {
            "categorical fields": columns.categorical.shape[1],
            "numeric fields": columns.numeric.shape[1],
            "multi-valued fields": {name: column[2] is not None for name, column in columns.ragged.items()},
            "labels of": set(columns.labels),
            "weight": columns.weight is not None,
        }
        lists = {name: weighted for name, _, weighted in self.ragged}
        expected = (len(self.sizes), self.num_numeric, lists, set(self.labels), self.weighted)
        for (what, found), wanted in zip(received.items(), expected, strict=True):
            if found != wanted:
                raise DataError(
                    message(
                        f"Encoded rows must fit the preprocessing they are stored with; {what}: {wanted}.",
                        received=repr(found),
                        way_out="Encode them with that preprocessing.",
                    )
                )


class Packed(NamedTuple):
    """n rows in a layout.

    Args:
        layout: Says what the arrays are.
        num_rows: Number of rows n.
        arrays: [n, width] matrix of each of `layout.arrays`, by name.
        lists: Multi-valued columns by name, ids narrowed.
    """

    layout: Layout
    num_rows: int
    arrays: dict[str, np.ndarray]
    lists: dict[str, RaggedColumn]

    def take(self, index: Int[np.ndarray, " r"]) -> "Packed":
        """The rows at `index`, in that order, still packed."""
        # `take` with an axis moves whole rows; x[index] does it number by number, several times slower.
        arrays = {name: array.take(index, axis=0) for name, array in self.arrays.items()}
        return Packed(self.layout, len(index), arrays, {name: column.take(index) for name, column in self.lists.items()})

    def unpack(self) -> Columns:
        """The rows as the rest of the system reads them: ids widened to int32. Shares memory where nothing is widened."""
        arrays, layout, empty = self.arrays, self.layout, np.zeros((self.num_rows, 0), np.float32)
        low = arrays.get("categorical", empty)
        categorical = low.astype(np.int32, copy=bool(layout.large))
        for position, field_ in enumerate(layout.large):
            # The upper half of an id is the odd one of its two 16-bit words: a strided copy, no arithmetic.
            categorical.view(np.uint16)[:, 2 * field_ + _UPPER] = arrays["categorical_high"][:, position]
        labels = arrays.get("labels", empty)
        weight = arrays["weight"][:, 0] if layout.weighted else None
        lists = {
            name: RaggedColumn(part.ids.astype(np.int32, copy=False), part.offsets, part.weights)
            for name, part in self.lists.items()
        }
        by_task = {name: labels[:, position] for position, name in enumerate(layout.labels)}
        return Columns(categorical, arrays.get("numeric", empty), lists, by_task, weight)


# Which of the two 16-bit words of an int32 is the upper one on this machine.
_UPPER = int(np.array([1 << _HALF], np.int32).view(np.uint16)[1] == 1)


def _narrowest(size: int) -> str:
    return "uint8" if size <= 256 else "uint16" if size <= 1 << _HALF else "int32"


def _narrow(column: RaggedColumn, dtype: str) -> RaggedColumn:
    ids, offsets, weights = column
    return RaggedColumn(
        ids.astype(dtype), offsets.astype(np.int64, copy=False), None if weights is None else weights.astype(np.float32)
    )
