"""Opens any source of rows as a `Table`."""

import os
from typing import Any

import pyarrow.fs as pafs

from polytask.data.formats import Csv, CsvTable, Files, IpcTable, MemoryTable, ParquetTable, Table, find_files
from polytask.data.formats._files import format_of, reading
from polytask.errors import ConfigError, DataError, message, nearest

_FILES = ("csv", "ipc", "parquet")

__all__ = ["Csv", "Table", "open_table"]


def open_table(source: Any, *, format: str | None = None, filesystem: Any = None, csv: Csv | None = None) -> Table:  # noqa: A002
    """Opens a table; nothing but heads and footers is read.

    Example:
        >>> import pyarrow as pa
        >>> table = open_table(pa.table({"age": [20, 30], "city": ["Bern", "Rome"]}))
        >>> table.names, table.num_rows
        (('age', 'city'), 2)

    Args:
        source: Path, folder, glob, URI that Arrow or fsspec opens, or a list of those; or a pyarrow, pandas or polars frame, or
            anything that speaks Arrow's stream protocol.
        format: "csv", "parquet" or "ipc"; by the name or the first bytes of the files where not given.
        filesystem: Arrow or fsspec filesystem that the paths belong to.
        csv: How delimited text is written, where it cannot be found out.

    Raises:
        DataError: If the source does not exist, is empty, damaged, or of several formats.
        ConfigError: If `format` is none.
    """
    if isinstance(source, Table):
        return source
    if not _is_path(source):
        return MemoryTable(source)
    if format is not None and format not in _FILES:
        raise ConfigError(message("Unknown format.", received=repr(format), way_out=nearest(format, _FILES)))
    files = find_files(source, filesystem)
    for info in files.infos:
        if info.type == pafs.FileType.File and info.size == 0:
            raise DataError(
                message(f"{info.path} must hold data.", received="an empty file", way_out="Was it written to the end?")
            )
    format = format or _format(files)  # noqa: A001
    if csv is not None and format != "csv":
        raise ConfigError(message("Options of delimited text belong to text files.", received=f"{format}: {files.paths[0]}"))
    if format == "csv":
        return CsvTable(files, csv)
    return ParquetTable(files) if format == "parquet" else IpcTable(files)


def _is_path(source: Any) -> bool:
    if isinstance(source, (list, tuple)):
        return all(isinstance(item, (str, os.PathLike)) for item in source)
    return isinstance(source, (str, os.PathLike))


def _format(files: Files) -> str:
    formats = {format_of(path) or _by_content(files, path) for path in files.paths}
    if len(formats) > 1:
        raise DataError(
            message(
                "All files of a table must have one format.",
                received=", ".join(sorted(formats)),
                way_out="Give a pattern such as 'folder/*.parquet'.",
            )
        )
    return formats.pop()


def _by_content(files: Files, path: str) -> str:
    with reading(path), files.filesystem.open_input_stream(path) as stream:
        head = stream.read(6)
    if head.startswith(b"PAR1"):
        return "parquet"
    return "ipc" if head == b"ARROW1" or head.startswith(b"\xff\xff\xff\xff") else "csv"
