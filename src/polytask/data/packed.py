"""Encoded rows in as few bytes as they need: the form in which they are stored, buffered and gathered."""

from dataclasses import dataclass, field
from typing import NamedTuple, final

import numpy as np
from jaxtyping import Int

from polytask.data.columns import Columns, RaggedColumn
from polytask.errors import DataError, message

# Ids below 2^16 are kept in two bytes; the few fields with more ids keep their upper half beside.
_HALF = 16
# Above this share of large fields the halves cost more than they save (strided copies), and ids are kept whole.
_MAX_LARGE_SHARE = 0.25
# A record is filled up to whole cache lines, or a whole part of one, where that costs no more than this.
_MAX_FILLING = 1.125


class FlatRagged(NamedTuple):
    """One multi-valued column as stored: offsets of the rows, ids, and weights where it has any."""

    name: str
    dtype: str
    weighted: bool


@final
@dataclass(frozen=True)
class Layout:
    """How the rows of one preprocessing are laid out: all single values of a row in one record.

    A batch is gathered from rows that lie anywhere in a large buffer, and what costs is the number of places: one record is two
    cache lines where a row in four matrices is six. Ids take one byte where every field has at most 256, else two; the upper
    halves of the few fields with more than 65536 lie beside. A row of forty fields so takes half the room, on disk and in the
    page cache. On the work of the loader's benchmark a batch costs 39 ns a row, widening included, against 82 in four narrow
    matrices and 70 in three wide ones.

    Args:
        sizes: Number of ids of each categorical field.
        num_numeric: Number of numeric fields.
        labels: Names of the tasks whose labels are kept.
        weighted: Whether rows carry a weight.
        ragged: Name, number of ids, and whether it has weights, of each multi-valued field.
        grouped: Whether rows carry the number of their group.

    Example:
        >>> Layout(sizes=(10, 300), num_numeric=2, labels=("click",)).record.names
        ('numeric', 'labels', 'categorical')
    """

    sizes: tuple[int, ...]
    num_numeric: int
    labels: tuple[str, ...] = ()
    weighted: bool = False
    ragged: tuple[tuple[str, int, bool], ...] = ()
    grouped: bool = False
    large: tuple[int, ...] = field(init=False)
    record: "np.dtype[np.void]" = field(init=False)
    lists: tuple[FlatRagged, ...] = field(init=False)

    def __post_init__(self) -> None:
        large = tuple(position for position, size in enumerate(self.sizes) if size > 1 << _HALF)
        whole = len(large) > _MAX_LARGE_SHARE * len(self.sizes)
        ids = "<i4" if whole else "u1" if max(self.sizes, default=0) <= 256 else "<u2"
        # By falling width, so that each is aligned.
        fields = [
            ("group", "<i8", int(self.grouped)),
            ("categorical", "<i4", len(self.sizes) if whole else 0),
            ("numeric", "<f4", self.num_numeric),
            ("labels", "<f4", len(self.labels)),
            ("weight", "<f4", int(self.weighted)),
            ("categorical_high", "<u2", 0 if whole else len(large)),
            ("categorical", ids, 0 if whole else len(self.sizes)),
        ]
        object.__setattr__(self, "large", () if whole else large)
        object.__setattr__(self, "record", _record([(name, dtype, (width,)) for name, dtype, width in fields if width]))
        object.__setattr__(self, "lists", tuple(FlatRagged(name, _narrowest(size), w) for name, size, w in self.ragged))

    @property
    def row_bytes(self) -> int:
        """Bytes of one row, without the values of multi-valued columns."""
        return self.record.itemsize + 8 * len(self.lists)

    def pack(self, columns: Columns) -> "Packed":
        """The same rows in this layout.

        Raises:
            DataError: If the columns are not those the layout was made for.
        """
        self._check(columns)
        records = np.zeros((columns.num_rows, self.record.itemsize), np.uint8)
        rows = records.view(self.record)[:, 0]
        values = {
            "numeric": columns.numeric,
            "labels": np.stack([columns.labels[name] for name in self.labels], axis=1) if self.labels else None,
            "weight": None if columns.weight is None else columns.weight[:, None],
            "group": None if columns.group is None else columns.group[:, None],
            "categorical_high": columns.categorical[:, list(self.large)] >> _HALF,
            "categorical": columns.categorical & ((1 << _HALF) - 1) if self.large else columns.categorical,
        }
        for name in values.keys() & set(self.record.names or ()):
            rows[name] = values[name]
        return Packed(self, records, {name: _narrow(columns.ragged[name], dtype) for name, dtype, _ in self.lists})

    def _check(self, columns: Columns) -> None:
        received = {
            "categorical fields": columns.categorical.shape[1],
            "numeric fields": columns.numeric.shape[1],
            "multi-valued fields": {name: column[2] is not None for name, column in columns.ragged.items()},
            "labels of": set(columns.labels),
            "weight": columns.weight is not None,
            "group": columns.group is not None,
        }
        lists = {name: weighted for name, _, weighted in self.ragged}
        expected = (len(self.sizes), self.num_numeric, lists, set(self.labels), self.weighted, self.grouped)
        for (what, found), wanted in zip(received.items(), expected, strict=True):
            if found != wanted:
                stored = f"Encoded rows must fit the preprocessing they are stored with; {what}: {wanted}."
                raise DataError(message(stored, received=repr(found), way_out="Encode them with that preprocessing."))


class Packed(NamedTuple):
    """n rows in a layout.

    Args:
        layout: Says what the bytes are.
        records: uint8 [n, b], the record of each row (`layout.record`).
        lists: Multi-valued columns by name, ids narrowed.
    """

    layout: Layout
    records: np.ndarray
    lists: dict[str, RaggedColumn]

    @property
    def num_rows(self) -> int:
        """Number of rows n."""
        return len(self.records)

    def take(self, index: Int[np.ndarray, " r"]) -> "Packed":
        """The rows at `index`, in that order, still packed."""
        # `take` with an axis moves whole rows; x[index] does it number by number, several times slower.
        records = self.records.take(index, axis=0)
        return Packed(self.layout, records, {name: column.take(index) for name, column in self.lists.items()})

    def unpack(self) -> Columns:
        """The rows as the rest of the system reads them: a copy, ids widened to int32."""
        layout = self.layout
        labels = self._block("labels", np.float32).T.copy()
        return Columns(
            self._ids(),
            self._block("numeric", np.float32),
            {name: RaggedColumn(part.ids.astype(np.int32), part.offsets, part.weights) for name, part in self.lists.items()},
            dict(zip(layout.labels, labels, strict=True)),
            self._block("weight", np.float32)[:, 0] if layout.weighted else None,
            self._block("group", np.int64)[:, 0] if layout.grouped else None,
        )

    def _ids(self) -> np.ndarray:
        low = self._block("categorical", np.int32)
        ids = low.astype(np.int32, copy=False)
        for position, field_ in enumerate(self.layout.large):
            # The upper half of an id is the odd one of its two 16-bit words: a strided copy, no arithmetic.
            ids.view(np.uint16)[:, 2 * field_ + _UPPER] = self.records.view(self.layout.record)["categorical_high"][
                :, 0, position
            ]
        return ids

    def _block(self, name: str, absent: type[np.generic]) -> np.ndarray:
        """The values of one kind, [n, width] in memory of their own."""
        record = self.layout.record
        if record.fields is None or name not in record.fields:
            return np.zeros((self.num_rows, 0), absent)
        kind, offset = record.fields[name][:2]
        # As one opaque value a row: copying a few numbers a row one by one takes several times as long.
        rows = self.records.view(record)[:, 0].getfield(f"V{kind.itemsize}", offset)
        block: np.ndarray = rows.copy().view(kind.base).reshape(self.num_rows, *kind.shape)
        return block


# Which of the two 16-bit words of an int32 is the upper one on this machine.
_UPPER = int(np.array([1 << _HALF], np.int32).view(np.uint16)[1] == 1)


def _record(fields: list[tuple[str, str, tuple[int]]]) -> "np.dtype[np.void]":
    fields = fields or [("nothing", "u1", (4,))]  # rows of lists alone: they are counted by their records
    widths = [np.dtype(dtype).itemsize * shape[0] for _, dtype, shape in fields]
    return np.dtype(
        {
            "names": [name for name, _, _ in fields],
            "formats": [(dtype, shape) for _, dtype, shape in fields],
            "offsets": [sum(widths[:position]) for position in range(len(widths))],
            "itemsize": _filled(sum(widths)),
        }
    )


def _filled(size: int) -> int:
    """Bytes of a record of `size` bytes: whole cache lines if they are nearly full, at least whole numbers of 4 bytes."""
    for line in (64, 32, 16, 8):
        whole = -(-size // line) * line
        if whole <= _MAX_FILLING * size:
            return whole
    return max(4, -(-size // 4) * 4)


def _narrowest(size: int) -> str:
    return "uint8" if size <= 256 else "uint16" if size <= 1 << _HALF else "int32"


def _narrow(column: RaggedColumn, dtype: str) -> RaggedColumn:
    ids, offsets, weights = column
    return RaggedColumn(
        ids.astype(dtype), offsets.astype(np.int64, copy=False), None if weights is None else weights.astype(np.float32)
    )
