"""A directory of encoded rows: whole or absent, and never of another table than the one asked for."""

import contextlib
import errno
import fcntl
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import BinaryIO, final

import numpy as np

from polytask.data.columns import RaggedColumn
from polytask.data.packed import Layout, Packed
from polytask.errors import DataError, message

Progress = Callable[[int, int | None], None]
"""Called with the rows done so far and the rows in all, None where that is not known beforehand."""

_MANIFEST = "manifest.json"
# Raised whenever the meaning of the files changes: directories of another format are written anew.
_FORMAT = 1
_FULL = (errno.ENOSPC, errno.EDQUOT)


@final
@dataclass(frozen=True)
class Identity:
    """What rows were encoded, and how: a directory with another identity is stale.

    Args:
        preprocessing: `Preprocessing.digest()`.
        table: `Table.fingerprint()`.
        labels: Names of the tasks whose labels are kept.
    """

    preprocessing: str
    table: str
    labels: tuple[str, ...]


@final
@dataclass(frozen=True)
class Manifest:
    """What a directory of encoded rows holds. It is written last: a directory without one is not finished.

    Args:
        identity: What was encoded, and how.
        layout: How rows are laid in the files.
        num_rows: Number of rows.
        num_values: Number of values in each multi-valued column.
    """

    identity: Identity
    layout: Layout
    num_rows: int
    num_values: dict[str, int] = field(default_factory=dict)

    def files(self) -> Iterator[tuple[str, int]]:
        """Name and number of bytes of every file but the manifest."""
        yield "rows.bin", self.layout.record.itemsize * self.num_rows
        for position, (name, dtype, weighted) in enumerate(self.layout.lists):
            values = self.num_values[name]
            yield f"list-{position}-ids.bin", np.dtype(dtype).itemsize * values
            yield f"list-{position}-offsets.bin", 8 * (self.num_rows + 1)
            if weighted:
                yield f"list-{position}-weights.bin", 4 * values

    def write(self, directory: Path) -> None:
        """Writes it into the directory."""
        layout = {key: value for key, value in vars(self.layout).items() if key not in ("large", "record", "lists")}
        plain = {"format": _FORMAT, "identity": asdict(self.identity), "layout": layout}
        plain |= {"num_rows": self.num_rows, "num_values": self.num_values}
        with (directory / _MANIFEST).open("wb") as file:
            file.write(json.dumps(plain, indent=1).encode())
            os.fsync(file.fileno())

    @classmethod
    def read(cls, directory: Path) -> "Manifest":
        """Reads the manifest of a directory and checks that its files are as long as it says.

        Raises:
            DataError: If the directory holds no encoded rows, or a file is missing or cut short.
        """
        way_out = "Remove the directory; it is written again from the table."
        try:
            plain = json.loads((directory / _MANIFEST).read_bytes())
            if plain.pop("format") != _FORMAT:
                raise ValueError("another format")  # noqa: TRY301 - the same way out as for a damaged file
            layout = plain["layout"]
            layout |= {"sizes": tuple(layout["sizes"]), "labels": tuple(layout["labels"])}
            layout["ragged"] = tuple((name, size, weighted) for name, size, weighted in layout["ragged"])
            identity = plain["identity"] | {"labels": tuple(plain["identity"]["labels"])}
            manifest = cls(Identity(**identity), Layout(**layout), plain["num_rows"], plain["num_values"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise DataError(
                message(f"{str(directory)!r} must hold encoded rows.", received=repr(error), way_out=way_out)
            ) from error
        for name, size in manifest.files():
            found = (directory / name).stat().st_size if (directory / name).exists() else None
            if found != size:
                expected = f"{str(directory / name)!r} must have {size} bytes."
                raise DataError(message(expected, received="no file" if found is None else f"{found} bytes", way_out=way_out))
        return manifest


def holds(directory: Path, identity: Identity) -> bool:
    """Whether the directory is whole and holds exactly these rows."""
    if not directory.exists():
        return False
    try:
        return Manifest.read(directory).identity == identity
    except DataError:
        return False


@final
class Appender:
    """Writes rows into a new directory, piece by piece; how many there will be need not be known.

    The directory is built under another name beside its own and renamed when it is whole. Of two processes that write the same
    rows, the first to finish wins and the other takes what is there.

    Args:
        directory: Where the rows shall be.
        layout: How rows are laid in the files.
        identity: What is encoded, and how.
    """

    def __init__(self, directory: Path, layout: Layout, identity: Identity) -> None:
        self.directory, self.layout, self.identity = directory, layout, identity
        self.num_rows = 0
        self._num_values = {name: 0 for name, _, _ in layout.lists}
        self._open: dict[str, BinaryIO] = {}

    @contextlib.contextmanager
    def appending(self) -> Iterator["Appender"]:
        """On success the directory is there; on failure nothing is left behind."""
        with self._explained(), _scratch(self.directory) as scratch:
            try:
                empty = Manifest(self.identity, self.layout, 0, self._num_values)
                self._open = {name: (scratch / name).open("wb", buffering=0) for name, _ in empty.files()}
                for position in range(len(self.layout.lists)):
                    self._append(f"list-{position}-offsets", np.zeros(1, np.int64))
                yield self
                for file in self._open.values():
                    os.fsync(file.fileno())
            finally:
                for file in self._open.values():
                    file.close()
            Manifest(self.identity, self.layout, self.num_rows, self._num_values).write(scratch)
            _publish(scratch, self.directory, self.identity)

    def append(self, rows: Packed) -> None:
        """Adds rows at the end."""
        self._append("rows", rows.records)
        for position, name in enumerate(self._num_values):
            self._append_list(position, name, rows.lists[name])
        self.num_rows += rows.num_rows

    def _append_list(self, position: int, name: str, column: RaggedColumn) -> None:
        self._append(f"list-{position}-offsets", column.offsets[1:] + self._num_values[name])
        self._append(f"list-{position}-ids", column.ids)
        if column.weights is not None:
            self._append(f"list-{position}-weights", column.weights)
        self._num_values[name] += len(column.ids)

    def _append(self, name: str, array: np.ndarray) -> None:
        rest = np.ascontiguousarray(array).data.cast("B") if array.size else memoryview(b"")
        while rest:
            # A raw write may take only a part; on a full disk the next one says so.
            rest = rest[self._open[f"{name}.bin"].write(rest) or 0 :]

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                expected = f"Encoding needs room for about {self.layout.row_bytes} bytes a row in {str(self.directory.parent)!r}."
                way_out = "Nothing was left behind. Free some room, or name a directory on another disk."
                raise DataError(
                    message(expected, received=f"{error.strerror} after {self.num_rows} rows", way_out=way_out)
                ) from error
            expected = f"Encoded rows must be writable to {str(self.directory)!r}."
            raise DataError(message(expected, received=str(error), way_out="Name a directory that can be written.")) from error


@contextlib.contextmanager
def _scratch(directory: Path) -> Iterator[Path]:
    """A directory beside `directory` that is removed if it still exists at the end. A lock on it says that its writer lives."""
    directory.parent.mkdir(parents=True, exist_ok=True)
    _sweep(directory)
    scratch, lock = _claim(directory)
    try:
        yield scratch
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
        os.close(lock)


def _claim(directory: Path) -> tuple[Path, int]:
    while True:
        scratch = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", suffix=".part", dir=directory.parent))
        # Another process may sweep it at any moment before it is locked: then it is made anew.
        with contextlib.suppress(FileNotFoundError):
            lock = os.open(scratch, os.O_RDONLY)
            fcntl.flock(lock, fcntl.LOCK_EX)
            if scratch.exists():
                return scratch, lock
            os.close(lock)


def _sweep(directory: Path) -> None:
    """Removes what killed processes left: scratch directories that nobody holds."""
    for left in directory.parent.glob(f".{directory.name}.*.part"):
        try:
            lock = os.open(left, os.O_RDONLY)
        except OSError:
            continue
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            shutil.rmtree(left, ignore_errors=True)
        except OSError:
            continue
        finally:
            os.close(lock)


def _publish(scratch: Path, directory: Path, identity: Identity) -> None:
    while not holds(directory, identity):
        try:
            scratch.rename(directory)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            _put_away(directory)
        else:
            return


def _put_away(directory: Path) -> None:
    """Removes stale rows, and only those: a directory of something else is the user's."""
    if not (directory / _MANIFEST).exists():
        expected = f"{str(directory)!r} must be free for encoded rows."
        raise DataError(message(expected, received="a directory of something else", way_out="Name another directory."))
    with contextlib.suppress(FileNotFoundError):
        aside = Path(tempfile.mkdtemp(prefix=f".{directory.name}.", suffix=".part", dir=directory.parent))
        directory.rename(aside)
        shutil.rmtree(aside, ignore_errors=True)
