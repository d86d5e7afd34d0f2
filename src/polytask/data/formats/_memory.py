"""Tables that are already in memory."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, final

import pyarrow as pa

from polytask.data.formats._base import Table, distinct_names
from polytask.errors import DataError, message


@final
class MemoryTable(Table):
    """A pyarrow table, a pandas or polars frame, or anything else that speaks Arrow's stream protocol.

    When: the data fits in memory. Pandas and polars are not imported; the frame brings its own conversion. A reader that can
    be read only once is read to the end and kept.

    Example:
        >>> MemoryTable(pa.table({"age": [20, 30]})).num_rows
        2

    Args:
        source: The frame.

    Raises:
        DataError: If it cannot be turned into Arrow, or has two columns of one name.
    """

    def __init__(self, source: Any) -> None:
        self._kind = f"{type(source).__module__.split('.')[0]} {type(source).__name__}"
        self._table = _as_arrow(source, self._kind).replace_schema_metadata(None)
        distinct_names(self._table.column_names, self._kind)

    @property
    def schema(self) -> pa.Schema:
        """Names and Arrow types of the columns."""
        return self._table.schema

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return int(self._table.num_rows)

    def fingerprint(self) -> str:
        """Hash of the content, the same however it is cut into chunks."""
        sink = _HashSink()
        with pa.ipc.new_stream(pa.PythonFile(sink, mode="w"), self.schema) as writer:
            for batch in self.batches():
                writer.write_batch(batch)
        return sink.hash.hexdigest()

    def describe(self, row: int) -> str:
        """Kind of the frame and row, counted from 0."""
        return f"{self._kind}, row {row}"

    def _stream(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        return iter(self._table.select(list(columns)).to_batches(max_chunksize=rows))


class _HashSink:
    """A file that only hashes what is written to it."""

    closed = False

    def __init__(self) -> None:
        self.hash = hashlib.sha256()

    def write(self, data: bytes | pa.Buffer) -> int:
        self.hash.update(data)
        return len(data)

    def flush(self) -> None:
        pass

    def close(self) -> None:
        pass


def _as_arrow(source: Any, kind: str) -> pa.Table:
    if isinstance(source, pa.Table):
        return source
    if isinstance(source, pa.RecordBatch):
        return pa.Table.from_batches([source])
    try:
        if kind == "pandas DataFrame":
            distinct_names([str(name) for name in source.columns], kind)
            return pa.Table.from_pandas(source, preserve_index=False)
        if isinstance(source, pa.RecordBatchReader):
            return source.read_all()
        if kind == "polars LazyFrame":
            source = source.collect()
        return pa.RecordBatchReader.from_stream(source).read_all()
    except (pa.ArrowException, TypeError) as error:
        raise DataError(
            message(
                "A table must be a path or a frame whose columns Arrow can hold.",
                received=f"{kind}: {error}",
                way_out="Give each column one type.",
            )
        ) from error
