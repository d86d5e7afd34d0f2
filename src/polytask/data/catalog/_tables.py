"""Reading text tables as they are, and cutting them by a fixed seed."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from jaxtyping import Int, Shaped
from pyarrow import csv

from polytask.data.archives import open_plain
from polytask.errors import DataError, message


def read_text(path: Path, names: Sequence[str] | None = None, *, separator: str = ",", skip: int = 0) -> pa.Table:
    """A table of text, every value as written but for blanks around it; nothing is taken for missing.

    Args:
        path: File, packed or not.
        names: Columns, in order; those of the first line where not given.
        separator: Between values.
        skip: Lines to leave out at the start.

    Raises:
        DataError: Names the file and what is wrong with it.
    """
    header = csv.ReadOptions(column_names=None if names is None else list(names), skip_rows=skip)
    with open_plain(path) as file:
        try:
            columns = list(names) if names is not None else None
            kinds = {} if columns is None else dict.fromkeys(columns, pa.string())
            options = csv.ConvertOptions(column_types=kinds, strings_can_be_null=False, null_values=[])
            table = csv.read_csv(file, header, csv.ParseOptions(delimiter=separator), options)
        except pa.ArrowInvalid as error:
            raise DataError(message(f"{path} must be a table.", received=str(error))) from error
    if columns is None:
        return table
    return pa.table({name: pc.utf8_trim_whitespace(table[name]) for name in table.column_names})


def to_numbers(table: pa.Table, names: Sequence[str], kind: pa.DataType) -> pa.Table:
    """The table with some text columns read as numbers.

    Raises:
        DataError: Names the column and the text that is no number.
    """
    for name in names:
        try:
            numbers = pc.cast(table[name], kind)
        except pa.ArrowInvalid as error:
            raise DataError(message(f"Column {name!r} must hold numbers.", received=str(error))) from error
        table = table.set_column(table.column_names.index(name), name, numbers)
    return table


def to_missing(table: pa.Table, names: Sequence[str], mark: str = "?") -> pa.Table:
    """The table with a mark read as missing in some text columns; anywhere else the mark is an error.

    Raises:
        DataError: Names the column that holds the mark but should not.
    """
    for name in table.column_names:
        column = table[name]
        if column.type != pa.string():
            continue
        marked = pc.equal(column, mark)
        if name in names:
            column = pc.if_else(marked, pa.scalar(None, pa.string()), column)
            table = table.set_column(table.column_names.index(name), name, column)
        elif pc.any(marked).as_py():
            row = pc.index(marked, pa.scalar(True)).as_py()
            raise DataError(message(f"Column {name!r} has no missing value.", received=f"{mark!r} in row {row}"))
    return table


def flag(values: pa.ChunkedArray, positive: Sequence[str]) -> pa.ChunkedArray:
    """1 where the text is one of some, else 0."""
    return pc.cast(pc.is_in(values, pa.array(positive)), pa.int8())


def known(table: pa.Table, name: str, values: Sequence[str]) -> pa.ChunkedArray:
    """A column that holds nothing but some texts.

    Raises:
        DataError: Names the row and value that is none of them.
    """
    strange = pc.invert(pc.is_in(table[name], pa.array(values)))
    if pc.any(strange).as_py():
        row = pc.index(strange, pa.scalar(True)).as_py()
        expected = f"Column {name!r} holds {', '.join(map(repr, values))}."
        raise DataError(message(expected, received=f"{table[name][row].as_py()!r} in row {row}"))
    return table[name]


def cut(
    num_rows: int, fractions: Sequence[float], *, seed: int, strata: Shaped[np.ndarray, " n"] | None = None
) -> list[Int[np.ndarray, " m"]]:
    """Row numbers of each part, in rising order: a random permutation by seed, cut at the cumulative fractions.

    Args:
        num_rows: Number of rows n.
        fractions: Of each part; they sum to 1.
        seed: Of the permutation.
        strata: Group of each row; each is cut on its own, so that parts hold the same shares of groups.
    """
    rng = np.random.default_rng(seed)
    codes = np.zeros(num_rows, dtype=np.int64) if strata is None else np.unique(strata, return_inverse=True)[1]
    parts: list[list[np.ndarray]] = [[] for _ in fractions]
    for code in range(codes.max(initial=-1) + 1):
        rows = rng.permutation(np.flatnonzero(codes == code))
        edges = np.round(np.cumsum(fractions)[:-1] * len(rows)).astype(int)
        for part, piece in zip(parts, np.split(rows, edges), strict=True):
            part.append(piece)
    return [np.sort(np.concatenate(part)) for part in parts]
