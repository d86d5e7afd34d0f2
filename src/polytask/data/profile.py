"""What the first rows of a table show of each column."""

import re
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from polytask.data.distinct import distinct
from polytask.data.formats import Table
from polytask.errors import DataError, message

Value = bool | int | float | str


class Profile(NamedTuple):
    """What the first rows show of one column.

    Args:
        name: Column.
        kind: "boolean", "integer", "number", "text", "time", "list", "empty" or "other".
        rows: Rows looked at.
        present: Rows that hold a value.
        values: Distinct values by falling count, equal counts by value; () for times, lists and others.
        counts: How often each occurs.
        low: Smallest number; NaN where there is none.
        high: Largest number.
        inner: Kind of the values of a list.
    """

    name: str
    kind: str
    rows: int
    present: int
    values: tuple[Value, ...] = ()
    counts: tuple[int, ...] = ()
    low: float = float("nan")
    high: float = float("nan")
    inner: str = ""

    @property
    def num_distinct(self) -> int:
        """Number of distinct values."""
        return len(self.values)

    @property
    def is_unique(self) -> bool:
        """Whether no value comes twice."""
        return self.present > 1 and self.num_distinct == self.present

    @property
    def is_flag(self) -> bool:
        """Whether it holds 0 and 1, or truth values."""
        return self.num_distinct == 2 and set(self.values) == {0, 1}

    def words(self) -> tuple[str, ...]:
        """The words of the name, in small letters.

        Example:
            >>> Profile("isClicked_v2", "integer", 1, 1).words()
            ('is', 'clicked', 'v2')
        """
        return tuple(re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", self.name).lower()))


def profiles(table: Table, *, rows: int = 100_000) -> tuple[Profile, ...]:
    """Looks at the first rows of every column.

    Args:
        table: Any table.
        rows: How many rows.

    Raises:
        DataError: If the table has no rows.
    """
    head = next(table.batches(rows=rows), None)
    if head is None or not head.num_rows:
        raise DataError(message("A table must have rows.", received=f"none in {table.describe(0).rpartition(', row')[0]}"))
    return tuple(_profile(name, head.column(name)) for name in head.schema.names)


def _profile(name: str, column: pa.Array) -> Profile:
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    present = len(column) - column.null_count
    if not present:
        return Profile(name, "empty", len(column), 0)
    if pa.types.is_nested(kind):
        inner = _inner(kind.value_type) if hasattr(kind, "value_type") else ""
        return Profile(name, "list" if inner else "other", len(column), present, inner=inner)
    if pa.types.is_temporal(kind) or "binary" in str(kind):
        return Profile(name, "time" if pa.types.is_temporal(kind) else "other", len(column), present)
    return _counted(name, column)


def _counted(name: str, column: pa.Array) -> Profile:
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_finite(column), column, None)
    found = distinct(column, name)
    counts = found.counts()
    table = pa.table({"value": found.values, "count": counts}).filter(pa.array(counts > 0)).drop_null()
    table = table.sort_by([("count", "descending"), ("value", "ascending")])
    if not table.num_rows:
        return Profile(name, "empty", len(column), 0)
    values, numbers = table["value"].to_pylist(), table["count"].to_pylist()
    shape = Profile(name, found.kind, len(column), sum(numbers), tuple(values), tuple(numbers))
    if found.kind == "text":
        return shape
    return shape._replace(low=float(min(values)), high=float(max(values)))


def _inner(kind: pa.DataType) -> str:
    if pa.types.is_floating(kind):
        return "number"
    return "" if pa.types.is_nested(kind) else "category"
