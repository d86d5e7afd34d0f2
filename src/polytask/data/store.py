"""Rows encoded once and read many times."""

import os
import weakref
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import final

import numpy as np
from jaxtyping import Bool, Int, UInt8

from polytask.data.cache import Appender, Identity, Manifest, Progress, holds
from polytask.data.columns import Columns, RaggedColumn
from polytask.data.formats import Table
from polytask.data.packed import Layout, Packed
from polytask.data.preprocess import Preprocessing
from polytask.errors import DataError, message

# Rows this close are read in one go and the ones between thrown away: about a page of the page cache.
_GAP = 16
# Wanted rows that are gathered at a time; times the gap it bounds the memory of the rows between.
_STRIDE = 8192
# Rows, and values of all columns, that are encoded at a time: some tens of megabytes, however wide the table.
_PIECE, _PIECE_VALUES = 1 << 16, 1 << 22


class Rows(ABC):
    """Encoded rows that can be read: all that were stored, or a part of them."""

    layout: Layout

    @abstractmethod
    def __len__(self) -> int:
        """Number of rows."""

    @abstractmethod
    def load(self, pieces: Int[np.ndarray, "p 2"], scratch: "Scratch | None" = None) -> Packed:
        """Reads rows `start` to `stop` of each piece, one piece after the other.

        Args:
            pieces: Increasing, without overlap.
            scratch: Memory to read into; what was read into it before is overwritten.
        """

    @abstractmethod
    def subset(self, keep: Bool[np.ndarray, " n"] | Int[np.ndarray, " r"]) -> "EncodedView":
        """A part of the rows, in their order. Costs one bit a row.

        Args:
            keep: True for each row of the part, or the increasing indices of its rows.

        Raises:
            DataError: If the indices do not increase, or reach beyond the rows.
        """

    @abstractmethod
    def _gather(self, index: Int[np.ndarray, " r"], scratch: "Scratch | None" = None) -> Packed: ...

    def read(self, rows: slice | Int[np.ndarray, " r"]) -> Columns:
        """Reads a block of rows, or the rows at increasing indices.

        Raises:
            DataError: If the indices do not increase, or reach beyond the rows.
        """
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step != 1:
                raise DataError(message("A block of rows has step 1.", received=rows, way_out="Give the indices as an array."))
            return self.load(np.array([[start, max(start, stop)]])).unpack()
        _check_increasing(rows, len(self))
        return self._gather(rows.astype(np.int64, copy=False)).unpack()


@final
class EncodedRows(Rows):
    """Rows encoded once: files that are read block by block, or arrays in memory.

    Files are read into buffers, never mapped whole: neither memory nor address space grows with the table. An id takes one or two
    bytes where its field allows (`Layout`).

    Args:
        layout: How rows are laid in the arrays.
        num_rows: Number of rows.
        arrays: Where each array is read from.

    Example:
        >>> import numpy as np
        >>> from polytask.data.packed import Layout
        >>> columns = Columns(np.array([[1], [2], [3]], np.int32), np.zeros((3, 0), np.float32), {}, {})
        >>> rows = EncodedRows.in_memory(Layout((9,), 0).pack(columns))
        >>> rows.subset(np.array([0, 2])).read(slice(0, 2)).categorical.tolist()
        [[1], [3]]
    """

    def __init__(self, layout: Layout, num_rows: int, arrays: "Mapping[str, _File | np.ndarray]") -> None:
        self.layout, self._num_rows, self._arrays = layout, num_rows, arrays

    def __len__(self) -> int:
        """Number of rows."""
        return self._num_rows

    @classmethod
    def write(
        cls,
        table: Table,
        preprocessing: Preprocessing,
        directory: str | os.PathLike[str],
        *,
        labels: bool = True,
        progress: Progress | None = None,
    ) -> "EncodedRows":
        """Encodes a table into a directory, in bounded memory; if it already holds just these rows, only opens it.

        The directory appears whole or not at all. Rows of another table or preprocessing in it are replaced.

        Args:
            table: Rows to encode.
            preprocessing: How.
            directory: Where to.
            labels: Whether labels and row weights are read; without, their columns may be absent.
            progress: Called with the rows done and, where known, the rows in all.

        Raises:
            DataError: If the table has no rows or a value that cannot be encoded, the disk is full, or the directory cannot be
                written or holds something else.
        """
        directory = Path(directory)
        layout = layout_of(preprocessing, labels=labels)
        identity = Identity(preprocessing.digest(), table.fingerprint(), layout.labels)
        if not holds(directory, identity):
            with Appender(directory, layout, identity).appending() as appender:
                columns = preprocessing.columns(labels=labels)
                for batch in table.batches(columns, rows=max(1024, min(_PIECE, _PIECE_VALUES // max(len(columns), 1)))):
                    encoded = preprocessing.encode(batch, first_row=appender.num_rows, labels=labels, table=table)
                    appender.append(layout.pack(encoded))
                    if progress is not None:
                        progress(appender.num_rows, table.num_rows)
                if not appender.num_rows:
                    raise DataError(
                        message("A table must have rows.", received=f"none in {table.describe(0).rpartition(', row')[0]}")
                    )
        rows = cls.open(directory)
        if not holds(directory, identity):
            expected = f"{str(directory)!r} must be used for one table at a time."
            received = "rows of another table, written by another process in this moment"
            raise DataError(message(expected, received=received, way_out="Give each process a directory of its own."))
        return rows

    @classmethod
    def open(cls, directory: str | os.PathLike[str]) -> "EncodedRows":
        """Opens a directory of encoded rows.

        Raises:
            DataError: If it holds none, or a file is missing or cut short.
        """
        directory = Path(directory)
        manifest = Manifest.read(directory)
        layout = manifest.layout
        kinds = {"rows": layout.record.itemsize}
        for position, (_, dtype, weighted) in enumerate(layout.lists):
            kinds |= {f"list-{position}-ids": np.dtype(dtype).itemsize, f"list-{position}-offsets": 8}
            if weighted:
                kinds[f"list-{position}-weights"] = 4
        files = {name: _File(directory / f"{name}.bin", row_bytes) for name, row_bytes in kinds.items()}
        return cls(layout, manifest.num_rows, files)

    @classmethod
    def from_columns(cls, columns: Columns, preprocessing: Preprocessing) -> "EncodedRows":
        """Rows that were encoded already, with or without labels, kept in memory."""
        return cls.in_memory(layout_of(preprocessing, labels=bool(columns.labels)).pack(columns))

    @classmethod
    def in_memory(cls, rows: Packed) -> "EncodedRows":
        """Rows that are packed already, kept in memory."""
        arrays = {"rows": rows.records}
        for position, column in enumerate(rows.lists.values()):
            arrays |= {f"list-{position}-ids": column.ids, f"list-{position}-offsets": column.offsets}
            if column.weights is not None:
                arrays[f"list-{position}-weights"] = column.weights
        return cls(rows.layout, rows.num_rows, arrays)

    def load(self, pieces: Int[np.ndarray, "p 2"], scratch: "Scratch | None" = None) -> Packed:
        """Reads rows `start` to `stop` of each piece, one piece after the other."""
        spans = _joined(pieces)
        num_rows = int((spans[:, 1] - spans[:, 0]).sum())
        records = (scratch or Scratch()).records(num_rows, self.layout.record.itemsize)
        at = 0
        for start, stop in spans.tolist():
            _read(self._arrays["rows"], records[at : at + stop - start], start)
            at += stop - start
        lists = {name: self._load_list(position, spans) for position, (name, _, _) in enumerate(self.layout.lists)}
        return Packed(self.layout, records, lists)

    def subset(self, keep: Bool[np.ndarray, " n"] | Int[np.ndarray, " r"]) -> "EncodedView":
        """A part of the rows, in their order."""
        return EncodedView(self, _as_mask(keep, len(self)))

    def _load_list(self, position: int, spans: np.ndarray) -> RaggedColumn:
        parts = []
        for start, stop in spans.tolist():
            offsets = np.empty(stop - start + 1, np.int64)
            _read(self._arrays[f"list-{position}-offsets"], offsets, start)
            first, last = int(offsets[0]), int(offsets[-1])
            ids = np.empty(last - first, self.layout.lists[position].dtype)
            _read(self._arrays[f"list-{position}-ids"], ids, first)
            weights = np.empty(last - first, np.float32) if self.layout.lists[position].weighted else None
            if weights is not None:
                _read(self._arrays[f"list-{position}-weights"], weights, first)
            parts.append(RaggedColumn(ids, offsets - first, weights))
        return parts[0] if len(parts) == 1 else RaggedColumn.joined(parts)

    def _gather(self, index: Int[np.ndarray, " r"], scratch: "Scratch | None" = None) -> Packed:
        if not len(index):
            return self.load(np.zeros((0, 2), np.int64))
        records = (scratch or Scratch()).records(len(index), self.layout.record.itemsize)
        strip, parts = Scratch(), []
        for at in range(0, len(index), _STRIDE):
            spans, positions = _spans(index[at : at + _STRIDE])
            block = self.load(spans, strip)
            # The mode spares a copy: with the default one `take` must not touch `out` before it has seen every position.
            block.records.take(positions, axis=0, out=records[at : at + _STRIDE], mode="clip")
            parts.append({name: column.take(positions) for name, column in block.lists.items()})
        lists = {name: RaggedColumn.joined([part[name] for part in parts]) for name, _, _ in self.layout.lists}
        return Packed(self.layout, records, lists)


@final
class EncodedView(Rows):
    """A part of encoded rows, such as the training rows of a split; it reads as all rows do.

    Args:
        rows: All rows.
        keep: True for the rows of the part.
    """

    def __init__(self, rows: EncodedRows, keep: Bool[np.ndarray, " n"]) -> None:
        self.layout, self._rows = rows.layout, rows
        # One bit a row, and the rows before each strip: row numbers of 8 bytes would not stay small beside a large table.
        self._bits = np.packbits(keep, bitorder="little")
        strips = [int(np.count_nonzero(keep[start : start + _STRIDE])) for start in range(0, len(keep), _STRIDE)]
        self._before = np.concatenate([[0], np.cumsum(strips, dtype=np.int64)])

    def __len__(self) -> int:
        """Number of rows."""
        return int(self._before[-1])

    def load(self, pieces: Int[np.ndarray, "p 2"], scratch: "Scratch | None" = None) -> Packed:
        """Reads rows `start` to `stop` of each piece, one piece after the other."""
        chosen = [self._select(start, stop) for start, stop in _joined(pieces).tolist()]
        return self._load(np.concatenate([np.zeros(0, np.int64), *chosen]), scratch)

    def _load(self, index: np.ndarray, scratch: "Scratch | None" = None) -> Packed:
        spans, _ = _spans(index, gap=1)
        if len(spans) <= 1 + len(index) // _STRIDE:
            return self._rows.load(spans, scratch)  # Neighbouring rows, as in a split by time: nothing lies between them.
        return self._rows._gather(index, scratch)

    def subset(self, keep: Bool[np.ndarray, " n"] | Int[np.ndarray, " r"]) -> "EncodedView":
        """A part of the part."""
        mask = np.unpackbits(self._bits, count=len(self._rows), bitorder="little").view(bool)
        mask[mask] = _as_mask(keep, len(self))
        return EncodedView(self._rows, mask)

    def _gather(self, index: Int[np.ndarray, " r"], scratch: "Scratch | None" = None) -> Packed:
        chosen = [np.zeros(0, np.int64)]
        for at in range(0, len(index), _STRIDE):
            spans, positions = _spans(index[at : at + _STRIDE])
            between = [self._select(start, stop) for start, stop in spans.tolist()]
            chosen.append(np.concatenate(between)[positions])
        return self._load(np.concatenate(chosen), scratch)

    def _select(self, start: int, stop: int) -> np.ndarray:
        """Which of all rows the part's rows `start` to `stop` are."""
        first = int(np.searchsorted(self._before, start, side="right")) - 1
        last = int(np.searchsorted(self._before, stop, side="left"))
        bits = self._bits[first * _STRIDE // 8 : last * _STRIDE // 8]
        chosen = np.flatnonzero(np.unpackbits(bits, bitorder="little")) + first * _STRIDE
        return chosen[start - self._before[first] : stop - self._before[first]]


@final
class Scratch:
    """Memory that is used again and again: fresh memory costs as much as what is read into it."""

    def __init__(self) -> None:
        self._kept = np.empty(0, np.uint8)

    def records(self, num_rows: int, row_bytes: int) -> UInt8[np.ndarray, "n b"]:
        """Uninitialised records, in the memory of the last ones, at the start of a cache line."""
        if len(self._kept) < num_rows * row_bytes + 64:
            self._kept = np.empty(num_rows * row_bytes + 64, np.uint8)
        first = -self._kept.ctypes.data % 64
        return self._kept[first : first + num_rows * row_bytes].reshape(num_rows, row_bytes)


@final
class _File:
    """A file of rows of `row_bytes` each. Reading moves no shared position, so any number of threads may read."""

    def __init__(self, path: Path, row_bytes: int) -> None:
        self.path, self.row_bytes = path, row_bytes
        self.handle = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        weakref.finalize(self, os.close, self.handle)


def layout_of(preprocessing: Preprocessing, *, labels: bool = True) -> Layout:
    """The layout of rows that this preprocessing encodes, with or without labels and row weights."""
    return Layout(
        sizes=tuple(field.size for field in preprocessing.categorical),
        num_numeric=len(preprocessing.numeric),
        labels=tuple(task.name for task in preprocessing.tasks) if labels else (),
        weighted=labels and preprocessing.weight is not None,
        ragged=tuple((field.name, field.size, field.weighted) for field in preprocessing.multi_valued),
        grouped=labels and preprocessing.group is not None,
    )


def _read(source: "_File | np.ndarray", out: np.ndarray, first: int) -> None:
    if isinstance(source, np.ndarray):
        out[...] = source[first : first + len(out)]
        return
    rest = out.data.cast("B") if out.size else memoryview(b"")
    at = first * source.row_bytes
    while rest:
        count = os.preadv(source.handle, [rest], at)
        if not count:
            raise DataError(message(f"{str(source.path)!r} must be as long as it was.", received=f"its end at byte {at}"))
        rest, at = rest[count:], at + count


def _joined(pieces: np.ndarray) -> np.ndarray:
    """Pieces that touch, made one: fewer and longer reads."""
    if not len(pieces):
        return np.zeros((1, 2), np.int64)
    parted = np.flatnonzero(pieces[1:, 0] != pieces[:-1, 1])
    starts = np.concatenate([pieces[:1, 0], pieces[parted + 1, 0]])
    return np.stack([starts, np.concatenate([pieces[parted, 1], pieces[-1:, 1]])], axis=1)


def _spans(index: np.ndarray, gap: int = _GAP) -> tuple[np.ndarray, np.ndarray]:
    """Few blocks that cover all rows of an increasing index, and where in them each row is."""
    if not len(index):
        return np.zeros((0, 2), np.int64), index
    parted = np.concatenate([[0], np.flatnonzero(np.diff(index) > gap) + 1])
    starts = index[parted]
    stops = np.concatenate([index[parted[1:] - 1], index[-1:]]) + 1
    before = np.cumsum(stops - starts) - (stops - starts)
    shift = np.repeat(before - starts, np.diff(np.concatenate([parted, [len(index)]])))
    return np.stack([starts, stops], axis=1), index + shift


def _as_mask(keep: np.ndarray, num_rows: int) -> np.ndarray:
    if keep.dtype == bool:
        if keep.shape != (num_rows,):
            raise DataError(message(f"A mask needs one value for each of {num_rows} rows.", received=f"shape {keep.shape}"))
        return keep
    _check_increasing(keep, num_rows)
    mask = np.zeros(num_rows, bool)
    mask[keep] = True
    return mask


def _check_increasing(index: np.ndarray, num_rows: int) -> None:
    if not np.issubdtype(index.dtype, np.integer) or index.ndim != 1:
        raise DataError(message("Row indices are a vector of integers.", received=f"{index.dtype} of shape {index.shape}"))
    if len(index) and (index[0] < 0 or index[-1] >= num_rows or not np.all(index[1:] > index[:-1])):
        way_out = "Sort them, each once."
        raise DataError(
            message(
                f"Row indices must increase and lie in 0 to {num_rows - 1}.",
                received=f"{index[0]} to {index[-1]}",
                way_out=way_out,
            )
        )
