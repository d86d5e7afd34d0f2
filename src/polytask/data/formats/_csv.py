"""Delimited text: CSV, TSV and the like, compressed or not."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from typing import Any, final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from polytask.data.formats._base import Table, distinct_names
from polytask.data.formats._csv_options import Csv, Dialect, sniff
from polytask.data.formats._files import Files, reading
from polytask.data.formats._ipc import described
from polytask.errors import DataError, message

_BLOCK_BYTES = 4 << 20  # types are inferred from the first block; a reader holds a few blocks
_RAGGED = re.compile(r"Row #(\d+): Expected (\d+) columns, got (\d+): ?(.*)", re.DOTALL)
_UNLIKE = re.compile(r"In CSV column #(\d+): (?:Row #(\d+): )?CSV conversion error to ([^:]+): (.*)", re.DOTALL)


@final
class CsvTable(Table):
    """Delimited text files, streamed block by block, also out of a compressed file.

    Each column has one type for the whole table, inferred from the first 4 MB of the first file (a column that is empty there:
    from the first value that comes). A later value that does not fit is an error, never a silent change of type.

    When: what others send. For repeated reading convert to Parquet once: it is read 4 to 5 times as fast.

    Args:
        files: The files, in reading order; all with the same columns.
        options: How they are written; what is not given is found out from the first file.

    Raises:
        DataError: If a file is empty or cannot be decoded, or columns have no distinct names.
    """

    def __init__(self, files: Files, options: Csv | None = None) -> None:
        self._files = files
        self._options = options or Csv()
        self._dialects: dict[str, Dialect] = {}
        self._counts: list[int | None] = [None] * len(files.paths)
        self._names = self._dialect(files.paths[0]).names
        self._schema = self._inferred()

    @property
    def schema(self) -> pa.Schema:
        """Names and Arrow types of the columns."""
        return self._schema

    @property
    def num_rows(self) -> None:
        """None: only reading everything would tell."""

    def fingerprint(self) -> str:
        """Hash of paths, sizes, times and the options of reading."""
        return self._files.fingerprint(sorted(asdict(self._options).items()))

    def describe(self, row: int) -> str:
        """File and row, counted from 0."""
        return described(self._files.paths, self._counts, row)

    def _stream(self, columns: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:  # noqa: ARG002 - blocks are bytes
        types = {field.name: field.type for field in self._schema}
        for position, path in enumerate(self._files.paths):
            seen = 0
            for batch in self._blocks(path, columns, types):
                seen += batch.num_rows
                yield batch
            self._counts[position] = seen

    def _blocks(self, path: str, columns: Sequence[str], types: dict[str, pa.DataType]) -> Iterator[pa.RecordBatch]:
        with self._explained(path), self._reader(path, columns, types) as reader:
            for batch in reader:
                yield self._trimmed(batch) if self._dialect(path).spaced else batch

    def _reader(self, path: str, columns: Sequence[str], types: dict[str, pa.DataType]) -> pacsv.CSVStreamingReader:
        dialect, options = self._dialect(path), self._options
        # In text like "a, b" the space belongs to the delimiter, so " ?" is as empty as "?".
        empty = [space + word for word in options.null_values for space in ("", " ")[: 1 + dialect.spaced]]
        return pacsv.open_csv(
            self._files.filesystem.open_input_stream(path),
            # Only one thread counts lines, and messages need the number.
            read_options=pacsv.ReadOptions(
                use_threads=False,
                block_size=_BLOCK_BYTES,
                column_names=self._names,
                skip_rows=dialect.header_lines,
                encoding=options.encoding,
            ),
            parse_options=pacsv.ParseOptions(delimiter=dialect.delimiter, newlines_in_values=True),
            convert_options=pacsv.ConvertOptions(
                null_values=empty, strings_can_be_null=True, column_types=types, include_columns=list(columns)
            ),
        )

    def _dialect(self, path: str) -> Dialect:
        if path not in self._dialects:
            with reading(path), self._files.filesystem.open_input_stream(path) as stream:
                head = stream.read(1 << 18)
            found = sniff(head, path, self._options)
            distinct_names(found.names, path, way_out="If the first line is not a header, give `names`.")
            first = next(iter(self._dialects.values()), found)
            if found.names != first.names:
                received = f"{', '.join(found.names)} after {', '.join(first.names)}"
                raise DataError(message(f"{path} must have the header of the first file.", received=received))
            self._dialects[path] = found
        return self._dialects[path]

    def _inferred(self) -> pa.Schema:
        path, names = self._files.paths[0], self._names
        given = self._options.arrow_types(names)
        with self._explained(path), self._reader(path, names, given) as reader:
            schema = reader.schema
        for field in schema:
            if pa.types.is_binary(field.type):
                raise DataError(
                    message(
                        f"Column {field.name!r} of {path} must be {self._options.encoding} text.",
                        received="other bytes",
                        way_out="Give the `encoding` of the file, as latin-1.",
                    )
                )
        empty = [field.name for field in schema if pa.types.is_null(field.type)]
        found = self._look_further(empty) if empty else {}
        return pa.schema([pa.field(field.name, found.get(field.name, field.type)) for field in schema])

    def _look_further(self, columns: list[str]) -> dict[str, pa.DataType]:
        """Types of columns that hold nothing in the first block, by the first block in which they do."""
        found: dict[str, pa.DataType] = {}
        texts = {name: pa.string() for name in self._names}
        for path in self._files.paths:
            for batch in self._blocks(path, columns, texts):
                for name in set(columns) - set(found):
                    values = batch.column(name).drop_null()
                    if len(values):
                        found[name] = _narrowest(values)
                if len(found) == len(columns):
                    return found
        return found

    def _trimmed(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        arrays = [
            pc.utf8_trim_whitespace(array) if pa.types.is_string(array.type) else array  # numbers are trimmed by Arrow
            for array in batch.columns
        ]
        return pa.record_batch(arrays, schema=batch.schema)

    def _explained(self, path: str) -> Any:
        return _Explained(path, self._names)


class _Explained:
    """Says what Arrow says about a line in our words: file, line, column, value, way out."""

    def __init__(self, path: str, names: Sequence[str]) -> None:
        self._path = path
        self._names = names
        self._reading = reading(path)

    def __enter__(self) -> None:
        self._reading.__enter__()

    def __exit__(self, kind: Any, error: Any, trace: Any) -> bool | None:
        if isinstance(error, pa.ArrowException):
            text = str(error)
            if found := _RAGGED.search(text):
                raise DataError(self._ragged(*found.groups())) from None
            if found := _UNLIKE.search(text):
                raise DataError(self._unlike(*found.groups())) from None
        return self._reading.__exit__(kind, error, trace)

    def _ragged(self, line: str, expected: str, received: str, text: str) -> str:
        return message(
            f"{self._path}, line {line}, must have {expected} values like the first line.",
            received=f"{received} values in {text[:200]!r}",
            way_out="Quote values that hold the delimiter, or give `delimiter`.",
        )

    def _unlike(self, column: str, line: str | None, kind: str, reason: str) -> str:
        name = self._names[int(column)]
        place = f"{self._path}, line {line}, column {name!r}" if line else f"{self._path}, column {name!r}"
        if "UTF8" in reason:
            return message(f"{place}, must be UTF-8 text.", received="other bytes", way_out="Give the `encoding`, as latin-1.")
        value = reason.removeprefix("invalid value ").strip("'")
        return message(
            f"{place}, must be {kind} like the values before it.",
            received=repr(value),
            way_out=f"Give types={{{name!r}: 'number'}}, or 'text' to declare it categorical, or null_values=[{value!r}].",
        )


def _narrowest(values: pa.Array) -> pa.DataType:
    for kind in (pa.int64(), pa.float64()):
        try:
            values.cast(kind)
        except pa.ArrowInvalid:
            continue
        return kind
    return pa.string()
