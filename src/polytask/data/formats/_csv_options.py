"""How a delimited text is written: declared, or found out from its first lines."""

import csv
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import NamedTuple, final

import pyarrow as pa

from polytask.errors import ConfigError, DataError, message, nearest

_DELIMITERS = (",", "\t", ";", "|")
_TYPES = {"text": pa.string(), "integer": pa.int64(), "number": pa.float64(), "boolean": pa.bool_(), "time": pa.timestamp("us")}


@final
@dataclass(frozen=True)
class Csv:
    """How a delimited text is written.

    Example:
        >>> Csv(null_values=("?",), types={"zip": "text"}).delimiter is None
        True

    Args:
        delimiter: One character; found out from the first lines where not given.
        names: Names of the columns; those of the first line where not given.
        header: Whether the first line is a header; where not given it is, unless `names` are given.
        null_values: Words that mean missing. The empty value always does; "NA" and its like do not, they may be categories.
        types: "text", "integer", "number", "boolean" or "time" of columns whose type shall not be inferred.
        encoding: Encoding of the text.

    Raises:
        ConfigError: If a delimiter or type is none.
    """

    delimiter: str | None = None
    names: tuple[str, ...] | None = None
    header: bool | None = None
    null_values: tuple[str, ...] = ()
    types: Mapping[str, str] = field(default_factory=dict)
    encoding: str = "utf8"

    def __post_init__(self) -> None:
        if self.delimiter is not None and len(self.delimiter) != 1:
            raise ConfigError(message("A delimiter is one character.", received=repr(self.delimiter)))
        if self.names is not None:
            object.__setattr__(self, "names", tuple(self.names))
        if self.header is False and self.names is None:
            raise ConfigError(message("A file without header needs `names`.", received="header=False"))
        words = [self.null_values] if isinstance(self.null_values, str) else self.null_values
        object.__setattr__(self, "null_values", ("", *(word for word in words if word != "")))
        for column, kind in self.types.items():
            if kind not in _TYPES:
                raise ConfigError(
                    message(f"Unknown type of column {column!r}.", received=repr(kind), way_out=nearest(str(kind), _TYPES))
                )

    def arrow_types(self, names: Sequence[str]) -> dict[str, pa.DataType]:
        """Arrow type of each declared column.

        Raises:
            DataError: If a declared column is not among `names`.
        """
        for column in self.types:
            if column not in names:
                raise DataError(message("Unknown column in `types`.", received=repr(column), way_out=nearest(column, names)))
        return {column: _TYPES[kind] for column, kind in self.types.items()}


class Dialect(NamedTuple):
    """How one file is written: its delimiter, columns, lines before the data, and whether a space follows each delimiter."""

    delimiter: str
    names: tuple[str, ...]
    header_lines: int
    spaced: bool


def sniff(head: bytes, path: str, options: Csv) -> Dialect:
    """Finds out how a file is written.

    Args:
        head: First bytes of the file, uncompressed.
        path: For messages and the suffix.
        options: What the user declared.

    Raises:
        DataError: If the file is empty, is no text, or has no header.
    """
    try:
        text = head.decode(options.encoding, errors="strict" if len(head) < (1 << 18) else "ignore").removeprefix("\ufeff")
    except (UnicodeDecodeError, LookupError) as error:
        raise DataError(
            message(f"{path} must be {options.encoding} text.", received=str(error), way_out="Give its `encoding`, as latin-1.")
        ) from None
    lines = text.splitlines()[:50]
    if not text.strip() or "\0" in text:
        received = "binary data" if "\0" in text else "an empty file"
        raise DataError(message(f"{path} must hold lines of text.", received=received, way_out="Is it the right file?"))
    if len(head) == 1 << 18 and len(lines) > 1:
        lines = lines[:-1]  # the last may be cut off
    delimiter = options.delimiter or _delimiter(lines, path)
    spaced = delimiter not in " \t" and lines[0].count(delimiter) > 0 and all(_is_spaced(line, delimiter) for line in lines)
    rows = list(csv.reader(lines, delimiter=delimiter, skipinitialspace=spaced))
    header = options.header if options.header is not None else options.names is None
    if options.header is None and header and _is_data(rows):
        raise DataError(
            message(
                f"The first line of {path} must name the columns.",
                received=f"what looks like data: {lines[0][:200]!r}",
                way_out="Give `names`, or header=true if these are names.",
            )
        )
    return Dialect(delimiter, options.names or tuple(name.strip() for name in rows[0]), int(header), spaced)


def _is_data(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first line has a number exactly where the lines below have, and does not just count the columns."""
    first, below = rows[0], [row for row in rows[1:] if len(row) == len(rows[0])]
    if not below or not any(map(_is_number, first)):
        return False
    counted = all(value.isdecimal() for value in first) and [int(value) for value in first] in (
        [*range(len(first))],
        [*range(1, len(first) + 1)],
    )
    return not counted and all(
        _is_number(name) or not all(_is_number(row[place]) for row in below) for place, name in enumerate(first)
    )


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _is_spaced(line: str, delimiter: str) -> bool:
    return line.count(delimiter) == line.count(delimiter + " ")


def _delimiter(lines: Sequence[str], path: str) -> str:
    """The delimiter that cuts most lines into one same number of values, and that into the most; else what the suffix says."""
    usual = "\t" if ".tsv" in PurePosixPath(path.lower()).suffixes else ","

    def merit(candidate: str) -> tuple[int, int]:
        widths = Counter(len(row) for row in csv.reader(lines, delimiter=candidate) if len(row) > 1)
        return max(((count, width) for width, count in widths.items()), default=(0, 0))

    return max((usual, *_DELIMITERS), key=merit)
