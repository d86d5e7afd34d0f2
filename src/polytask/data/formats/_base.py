"""What every table is: named columns, read as a stream in the order of the source."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence

import pyarrow as pa

from polytask.errors import DataError, message, nearest


class Table(ABC):
    """Rows of any source, streamed in bounded memory and always in the same order. Made by `open_table`."""

    @property
    @abstractmethod
    def schema(self) -> pa.Schema:
        """Names and Arrow types of the columns."""

    @property
    @abstractmethod
    def num_rows(self) -> int | None:
        """Number of rows, or None where only reading everything would tell."""

    @abstractmethod
    def fingerprint(self) -> str:
        """Changes when the content may have changed: a hash of paths, sizes and times of files, or of the content of frames."""

    @abstractmethod
    def describe(self, row: int) -> str:
        """Where a row stands, for messages: file and row, counted from 0. Rows must have been read before."""

    @abstractmethod
    def _stream(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Batches of any size with exactly these columns; `rows` is the size that is wanted."""

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self.schema.names)

    def batches(self, columns: Sequence[str] | None = None, *, rows: int = 65_536) -> Iterator[pa.RecordBatch]:
        """Streams the table; every batch but the last has exactly `rows` rows, whatever the source's own pieces are.

        Args:
            columns: What is read, in this order; everything where not given. The rest is not even decoded.
            rows: Rows of a batch.

        Raises:
            DataError: Names unknown columns, or the file and line that cannot be read.
        """
        if rows < 1:
            raise DataError(message("A batch needs at least one row.", received=f"rows={rows}"))
        wanted = list(self.names if columns is None else columns)
        self._require(wanted)
        schema = pa.schema([self.schema.field(name) for name in wanted])
        return _regrouped(self._stream(wanted, rows), rows, schema)

    def _require(self, columns: Iterable[str]) -> None:
        unknown = [name for name in columns if name not in self.names]
        if unknown:
            hints = " ".join(nearest(name, self.names) for name in unknown[:5])
            raise DataError(message("Unknown column.", received=", ".join(map(repr, unknown)), way_out=hints))


def distinct_names(names: Sequence[str], place: str, *, way_out: str = "Rename one of them.") -> None:
    """Refuses a table whose columns cannot be told apart.

    Raises:
        DataError: Names the columns.
    """
    twice = sorted({name for name in names if names.count(name) > 1}) if len(set(names)) < len(names) else []
    if twice:
        raise DataError(
            message(f"Columns of {place} need distinct names.", received=f"twice: {', '.join(map(repr, twice))}", way_out=way_out)
        )


def _regrouped(batches: Iterator[pa.RecordBatch], rows: int, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    waiting: list[pa.RecordBatch] = []
    count = 0
    for batch in batches:
        start = 0
        while count + batch.num_rows - start >= rows:
            taken = batch.slice(start, rows - count)
            start += taken.num_rows
            yield from _joined([*waiting, taken], schema)
            waiting, count = [], 0
        if start < batch.num_rows:
            waiting.append(batch.slice(start))
            count += batch.num_rows - start
    if waiting:
        yield from _joined(waiting, schema)


def _joined(parts: list[pa.RecordBatch], schema: pa.Schema) -> list[pa.RecordBatch]:
    if len(parts) == 1:
        return parts
    # Several batches come back only where the text of one column exceeds 2 GB.
    return list(pa.Table.from_batches(parts, schema).combine_chunks().to_batches())
