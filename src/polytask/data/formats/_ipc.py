"""Arrow IPC: feather files and streams."""

import bisect
from collections.abc import Iterator, Sequence
from typing import Any, final

import pyarrow as pa
import pyarrow.fs as pafs

from polytask.data.formats._base import Table, distinct_names
from polytask.data.formats._files import Files, reading
from polytask.errors import DataError, message

_FILE_MAGIC = b"ARROW1"


@final
class IpcTable(Table):
    """Arrow IPC (feather) files or streams; local files are mapped into memory, not read.

    When: the fastest source where there is disk to spare. All files must have the columns and types of the first.

    Args:
        files: The files, in reading order.

    Raises:
        DataError: If a file is damaged, or its columns differ from the first file's.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        self._counts = [self._count(path) for path in files.paths]
        with reading(files.paths[0]), self._open(files.paths[0]) as reader:
            self._schema = reader.schema
        distinct_names(self._schema.names, files.paths[0])

    @property
    def schema(self) -> pa.Schema:
        """Names and Arrow types of the columns."""
        return self._schema

    @property
    def num_rows(self) -> int | None:
        """Number of rows; None for streams."""
        known = [count for count in self._counts if count is not None]
        return sum(known) if len(known) == len(self._counts) else None

    def fingerprint(self) -> str:
        """Hash of paths, sizes and times."""
        return self._files.fingerprint()

    def describe(self, row: int) -> str:
        """File and row, counted from 0."""
        return described(self._files.paths, self._counts, row)

    def _stream(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:  # noqa: ARG002 - batches come as written
        for position, path in enumerate(self._files.paths):
            with reading(path), self._open(path, columns) as reader:
                seen = 0
                for batch in _batches(reader, path, columns, pa.schema([self._schema.field(name) for name in columns])):
                    seen += batch.num_rows
                    yield batch
                self._counts[position] = seen

    def _open(self, path: str, columns: Sequence[str] | None = None) -> Any:
        source = self._source(path)
        opening = pa.ipc.open_file if _is_file(source) else pa.ipc.open_stream
        if columns is None:
            return opening(source)
        with self._open(path) as reader:
            fields = [reader.schema.get_field_index(name) for name in columns]
        chosen = sorted(field for field in fields if field >= 0)
        return opening(self._source(path), options=pa.ipc.IpcReadOptions(included_fields=chosen))

    def _source(self, path: str) -> Any:
        if isinstance(self._files.filesystem, pafs.LocalFileSystem):
            return pa.memory_map(path)
        return self._files.filesystem.open_input_file(path)

    def _count(self, path: str) -> int | None:
        with reading(path):
            source = self._source(path)
            if not _is_file(source):
                return None
            # Without fields only the metadata of each batch is read.
            with pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=[])) as reader:
                return sum(int(reader.get_batch(i).num_rows) for i in range(reader.num_record_batches))


def described(paths: Sequence[str], counts: Sequence[int | None], row: int) -> str:
    """File and row within it, as far as the files' lengths are known.

    Example:
        >>> described(["a", "b"], [10, None], 12)
        'b, row 2'
    """
    ends: list[int] = []
    for count in counts:
        if count is None:
            break
        ends.append((ends[-1] if ends else 0) + count)
    position = min(bisect.bisect_right(ends, row), len(paths) - 1)
    return f"{paths[position]}, row {row - (ends[position - 1] if position else 0)}"


def _is_file(source: Any) -> bool:
    magic = source.read(len(_FILE_MAGIC))
    source.seek(0)
    if not magic:
        raise DataError(message("An Arrow file must not be empty.", received="0 bytes"))
    return bool(magic == _FILE_MAGIC)


def _batches(reader: Any, path: str, columns: Sequence[str], schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    missing = [name for name in columns if name not in reader.schema.names]
    if missing:
        raise DataError(
            message(f"{path} must have the columns of the first file.", received=f"no {', '.join(map(repr, missing))}")
        )
    stream = reader if hasattr(reader, "read_next_batch") else map(reader.get_batch, range(reader.num_record_batches))
    for batch in stream:
        yield batch.select(list(columns)).cast(schema)
