"""What simulators with a hidden truth share: rows by blocks, so that any cut of them agrees."""

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from polytask.errors import ConfigError, message, nearest
from polytask.files import replacing


class Simulator(ABC):
    """Base of simulators that know more than they show: a log for the model, and the truth beside it, row for row.

    A block of rows depends on the seed and its own number alone.
    """

    @property
    @abstractmethod
    def block_rows(self) -> int:
        """Rows that are drawn together."""

    @abstractmethod
    def _block(self, block: int) -> tuple[pa.Table, pa.Table]:
        """Log and truth of the block of this number."""

    def table(self, start: int, stop: int) -> pa.Table:
        """Rows `start` to `stop` of the log, as a model may see them."""
        return pa.concat_tables(log for log, _ in self._pieces(start, stop))

    def truth(self, start: int, stop: int) -> pa.Table:
        """The same rows' true probabilities (`true_*`), logits, and outcomes drawn for every row (`drawn_*`).

        An outcome that needs another one is drawn as what would follow it, whether that one happens or not.
        """
        return pa.concat_tables(truth for _, truth in self._pieces(start, stop))

    def write(
        self,
        path: str | os.PathLike[str],
        rows: int,
        *,
        start: int = 0,
        truth: str | os.PathLike[str] | None = None,
        chunk: int = 65_536,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        """Writes rows as Parquet, each file whole or not at all; the same rows whatever the chunk.

        Args:
            path: File of the log.
            rows: Number of rows.
            start: First row; a later start continues the log in time.
            truth: File of the true probabilities, row for row, or None.
            chunk: Rows held in memory and written at a time.
            progress: Called with the number of rows written so far.
        """
        require(rows >= 1, "'rows' must be at least 1.", rows)
        require(chunk >= 1, "'chunk' must be at least 1.", chunk)
        with ExitStack() as stack:
            # The log is entered first, so it is put in place last: a log never stands without its truth.
            files = [stack.enter_context(replacing(place)) for place in (path, truth) if place is not None]
            writers: list[pq.ParquetWriter] = []
            for begin in range(start, start + rows, chunk):
                end = min(begin + chunk, start + rows)
                tables = [pa.concat_tables(parts) for parts in zip(*self._pieces(begin, end), strict=True)]
                if not writers:
                    pairs = zip(files, tables, strict=False)
                    writers = [stack.enter_context(_writer(file, table.schema)) for file, table in pairs]
                for writer, table in zip(writers, tables, strict=False):
                    writer.write_table(table, row_group_size=chunk)
                if progress is not None:
                    progress(end - start)

    def _pieces(self, start: int, stop: int) -> Iterator[tuple[pa.Table, pa.Table]]:
        require(0 <= start < stop, "Rows must be 0 <= start < stop.", (start, stop))
        size = self.block_rows
        for block in range(start // size, -(-stop // size)):
            begin, end = max(start - block * size, 0), min(stop - block * size, size)
            log, truth = self._block(block)
            yield log.slice(begin, end - begin), truth.slice(begin, end - begin)


def _writer(path: Path, schema: pa.Schema) -> pq.ParquetWriter:
    return pq.ParquetWriter(path, schema, compression="zstd")


def require(met: bool, expected: str, received: object) -> None:
    """Refuses an option that is not what is expected."""
    if not met:
        raise ConfigError(message(expected, received=received))


def require_named(key: str, given: Mapping[str, float], names: tuple[str, ...], limits: tuple[float, float]) -> None:
    """Refuses a number by name whose name is unknown or that is outside the limits."""
    for name, value in given.items():
        if name not in names:
            raise ConfigError(message(f"{key!r} is set by name.", received=repr(name), way_out=nearest(name, names)))
        low, high = limits
        require(low <= value <= high, f"{key!r} of {name!r} must lie in [{low:g}, {high:g}].", value)
