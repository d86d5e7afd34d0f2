"""Streams record batches into a file whose suffix says what it is."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import csv, ipc, parquet

from polytask.errors import ConfigError, DataError, message, nearest
from polytask.files import replacing

Opener = Callable[[Any, pa.Schema], Any]

WRITERS: dict[str, Opener] = {
    ".parquet": lambda sink, schema: parquet.ParquetWriter(sink, schema, compression="zstd"),
    ".csv": csv.CSVWriter,
    ".csv.gz": csv.CSVWriter,
    ".arrow": ipc.new_file,
    ".feather": ipc.new_file,
    ".ipc": ipc.new_file,
}
"""By suffix; every writer takes a sink and a schema, has `write_batch`, and closes itself."""


def writer_of(path: Path) -> Opener:
    """The writer of a path.

    Raises:
        ConfigError: If no writer has this suffix.
    """
    suffix = "".join(path.suffixes[-2:]) if path.suffix == ".gz" else path.suffix
    if suffix not in WRITERS:
        raise ConfigError(
            message(f"Cannot tell the format of {str(path)!r}.", received=repr(suffix), way_out=nearest(suffix, WRITERS))
        )
    return WRITERS[suffix]


def write_batches(path: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """Writes batches as they come and gives the number of rows; on any failure the path stays as it was.

    Raises:
        ConfigError: If the suffix is unknown.
        DataError: If the file cannot be written.

    Example:
        >>> import tempfile
        >>> batch = pa.record_batch({"click": [0.25, 0.5]})
        >>> write_batches(Path(tempfile.mkdtemp()) / "scores.csv", batch.schema, [batch])
        2
    """
    opener, rows = writer_of(path), 0
    try:
        with replacing(path) as scratch:
            compression = "gzip" if path.suffix == ".gz" else None
            with pa.output_stream(str(scratch), compression=compression) as sink, opener(sink, schema) as writer:
                for batch in batches:
                    writer.write_batch(batch)
                    rows += batch.num_rows
    except OSError as error:
        way_out = "Choose another place, or make room."
        raise DataError(message(f"{str(path)!r} must be writable.", received=str(error), way_out=way_out)) from error
    return rows
