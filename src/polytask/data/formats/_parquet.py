"""Parquet files, folders and hive partitions."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import final
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq

from polytask.data.formats._base import Table, distinct_names
from polytask.data.formats._files import Files, reading
from polytask.data.formats._ipc import described
from polytask.errors import DataError, message

_NO_VALUE = "__HIVE_DEFAULT_PARTITION__"
_READ_BYTES = 1 << 20  # of a column chunk at a time, so that memory does not grow with the row groups


@final
class ParquetTable(Table):
    """Parquet files; `key=value` folders between the root and the files become columns.

    When: the default for anything large. Columns that only some files have are null in the others; types that differ are
    widened. Text comes as Arrow dictionaries, the form in which Parquet keeps it: that is read and encoded twice as fast.

    Args:
        files: The files, in reading order.

    Raises:
        DataError: If a file is damaged, or the files' types contradict each other.
    """

    def __init__(self, files: Files) -> None:
        self._files = files
        with ThreadPoolExecutor(16) as pool:  # footers of remote files wait for the network, not for the processor
            footers = list(pool.map(self._footer, files.paths))
        self._counts: list[int | None] = [rows for rows, _ in footers]
        self._keys = _partition_columns(files)
        try:
            schema = pa.unify_schemas([schema for _, schema in footers], promote_options="permissive")
        except pa.ArrowException as error:
            raise DataError(self._contradiction([schema for _, schema in footers], error)) from None
        for name, values in self._keys.items():
            if name not in schema.names:
                schema = schema.append(pa.field(name, values.type))
        self._texts = [field.name for field in schema if _is_text(field.type) and field.name not in self._keys]
        self._schema = pa.schema([_coded(field) if field.name in self._texts else field for field in schema])

    @property
    def schema(self) -> pa.Schema:
        """Names and Arrow types of the columns."""
        return self._schema

    @property
    def num_rows(self) -> int:
        """Number of rows."""
        return sum(count for count in self._counts if count is not None)

    def fingerprint(self) -> str:
        """Hash of paths, sizes and times."""
        return self._files.fingerprint()

    def describe(self, row: int) -> str:
        """File and row, counted from 0."""
        return described(self._files.paths, self._counts, row)

    def _stream(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        schema = pa.schema([self._schema.field(name) for name in columns])
        for position, path in enumerate(self._files.paths):
            with reading(path), self._open(path) as file:
                own = [name for name in columns if name in file.schema_arrow.names]
                for batch in file.iter_batches(rows, columns=own, use_threads=False):
                    yield self._completed(batch, position, schema)

    def _completed(self, batch: pa.RecordBatch, position: int, schema: pa.Schema) -> pa.RecordBatch:
        arrays = []
        for field in schema:
            if field.name in batch.schema.names:
                column = batch.column(field.name)
                arrays.append(column if column.type == field.type else _cast(column, field.type))
            elif field.name in self._keys:
                arrays.append(pa.repeat(self._keys[field.name][position], batch.num_rows))
            else:
                arrays.append(pa.nulls(batch.num_rows, field.type))
        return pa.record_batch(arrays, schema=schema)

    def _open(self, path: str) -> pq.ParquetFile:
        source = self._files.filesystem.open_input_file(path)
        # Buffering ahead, pyarrow's default, would keep every column chunk that was read until the file is closed.
        return pq.ParquetFile(source, buffer_size=_READ_BYTES, pre_buffer=False, read_dictionary=self._texts)

    def _footer(self, path: str) -> tuple[int, pa.Schema]:
        with reading(path), pq.ParquetFile(self._files.filesystem.open_input_file(path)) as file:
            distinct_names(file.schema_arrow.names, path)
            return file.metadata.num_rows, file.schema_arrow.remove_metadata()

    def _contradiction(self, schemas: list[pa.Schema], error: Exception) -> str:
        for (path, schema), (other, after) in pairwise(zip(self._files.paths, schemas, strict=True)):
            for field in after:
                if field.name in schema.names and schema.field(field.name).type != field.type:
                    types = f"{schema.field(field.name).type} in {path}, {field.type} in {other}"
                    return message(f"Column {field.name!r} needs one type.", received=types, way_out="Rewrite one of the files.")
        return message("The files need columns of the same types.", received=str(error))


def _partition_columns(files: Files) -> dict[str, pa.Array]:
    """The value of each `key=value` folder, for every file."""
    folders = [path[len(files.root) :].split("/")[:-1] if files.root else [] for path in files.paths]
    parts = [dict(folder.split("=", 1) for folder in row if "=" in folder) for row in folders]
    keys = dict.fromkeys(key for row in parts for key in row)
    columns = {}
    for key in keys:
        texts = [unquote(row[key]) if row.get(key, _NO_VALUE) != _NO_VALUE else None for row in parts]
        whole = all(text is None or text.lstrip("-").isdecimal() for text in texts)
        columns[key] = pa.array(texts, pa.string()).cast(pa.int64()) if whole else pa.array(texts, pa.string())
    return columns


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _coded(field: pa.Field) -> pa.Field:
    return field.with_type(pa.dictionary(pa.int32(), pa.string()))


def _cast(column: pa.Array, kind: pa.DataType) -> pa.Array:
    if not pa.types.is_dictionary(kind) or pa.types.is_dictionary(column.type):
        return column.cast(kind)
    return column.cast(kind.value_type).dictionary_encode()
