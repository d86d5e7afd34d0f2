"""From a table's columns to numbers: fitted once, in one streaming pass; stored as JSON."""

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import final

import numpy as np
import pyarrow as pa
from jaxtyping import Float

from polytask.data.columns import Columns
from polytask.data.fields import CategoricalField, Field, MultiValuedField, NumericField
from polytask.data.fitting import start_fit
from polytask.data.formats import Table
from polytask.data.groups import group_numbers
from polytask.data.numbers import as_numbers, refuse_infinite
from polytask.data.schema import Schema
from polytask.errors import ConfigError, DataError, Where, message, nearest, row_of
from polytask.tasks import LabelSummary, Task, check_tasks, given_chain

Progress = Callable[[int, int | None], None]


@final
@dataclass(frozen=True)
class Preprocessing:
    """What was learned of a table's columns, and how rows become numbers.

    Example:
        >>> from polytask.data import Categorical, Numeric, open_table
        >>> from polytask.tasks import Binary
        >>> table = open_table(pa.table({"city": ["Bern", "Rome", "Bern"], "age": [20, 30, None], "click": [0, 1, 1]}))
        >>> fitted = Preprocessing.fit(table, Schema((Categorical("city"), Numeric("age"))), [Binary("click")])
        >>> columns = fitted.encode(next(table.batches()))
        >>> columns.categorical.tolist(), columns.numeric.tolist(), columns.labels["click"].tolist()
        ([[3], [4], [3]], [[-1.0], [1.0], [nan]], [0.0, 1.0, 1.0])

    Args:
        categorical: Single-valued fields, in the order of `Columns.categorical`.
        numeric: Numeric fields, in the order of `Columns.numeric`.
        multi_valued: Multi-valued fields.
        tasks: The tasks, fitted to their labels.
        weight: Column of row weights.
        group: Column of groups, for metrics of rankings.
    """

    categorical: tuple[CategoricalField, ...]
    numeric: tuple[NumericField, ...]
    multi_valued: tuple[MultiValuedField, ...]
    tasks: tuple[Task, ...]
    weight: str | None = None
    group: str | None = None

    @classmethod
    def fit(cls, table: Table, schema: Schema, tasks: Sequence[Task], *, progress: Progress | None = None) -> "Preprocessing":
        """Learns dictionaries, scales, boundaries and labels in one pass, in memory that does not grow with the rows.

        Args:
            table: The rows to learn from: those of training.
            schema: What the columns mean.
            tasks: What is predicted. A task with `given` learns from the rows of its sample space.
            progress: Called after each batch with the rows done and, where known, the rows in all.

        Raises:
            ConfigError: If tasks contradict each other, or a label is a feature too.
            DataError: Lists every problem of the table at once: absent columns, values that do not fit, useless labels.
        """
        check_tasks(tasks)
        _check_columns(table, schema, tasks)
        fit = _Fit(table, schema, tasks)
        rows = 0
        for batch in table.batches(list(dict.fromkeys([*schema.columns, *(task.label for task in tasks)]))):
            fit.update(batch, rows)
            rows += batch.num_rows
            if progress is not None:
                progress(rows, table.num_rows)
        if not rows:
            raise DataError(message("A table must have rows.", received=f"none in {table.describe(0).rpartition(', row')[0]}"))
        return fit.result()

    @property
    def fields(self) -> tuple[Field, ...]:
        """All fields: categorical, numeric, multi-valued."""
        return (*self.categorical, *self.numeric, *self.multi_valued)

    def columns(self, *, labels: bool = True) -> tuple[str, ...]:
        """Columns of a table that `encode` reads; without labels also without row weight and group.

        Example:
            >>> Preprocessing((), (NumericField("age", 0.0, 1.0, (0.0, 1.0)),), (), (), "rows").columns()
            ('age', 'rows')
        """
        own = [field.weights for field in self.multi_valued if field.weights is not None]
        others = [name for name in (self.weight, self.group) if name]
        extra = [*others, *(task.label for task in self.tasks)] if labels else []
        return tuple(dict.fromkeys([*(field.name for field in self.fields), *own, *extra]))

    def encode(self, batch: pa.RecordBatch, *, first_row: int = 0, labels: bool = True, table: Table | None = None) -> Columns:
        """Rows as numbers. Columns that no field or task names are passed over.

        Args:
            batch: The rows.
            first_row: Row of the table at which the batch starts, for messages.
            labels: Whether labels, row weights and groups are read; without, their columns may be absent.
            table: Where the rows are from, so that messages can name the file.

        Raises:
            DataError: Names absent columns, all at once; or column, row and value that do not fit.
        """
        absent = [name for name in self.columns(labels=labels) if name not in batch.schema.names]
        if absent:
            raise DataError(_unknown("the table", absent, batch.schema.names))
        where = _place(table, first_row)
        categorical = [field.encode(batch.column(field.name)) for field in self.categorical]
        numeric = [field.encode(batch.column(field.name), where) for field in self.numeric]
        return Columns(
            _rows(categorical, batch.num_rows, np.int32),
            _rows(numeric, batch.num_rows, np.float32),
            {field.name: field.encode(batch, where) for field in self.multi_valued},
            {task.name: task.encode(batch.column(task.label), where=where) for task in self.tasks} if labels else {},
            _row_weights(batch.column(self.weight), self.weight, where) if labels and self.weight else None,
            group_numbers(batch.column(self.group), self.group, where) if labels and self.group else None,
        )

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes JSON; `load` gives back exactly this preprocessing."""
        from polytask.data.preprocess_json import write_json  # noqa: PLC0415 - it builds on this module

        write_json(self, path)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> "Preprocessing":
        """Reads what `save` wrote.

        Raises:
            CheckpointError: If the file is absent, damaged, something else, or of a later version.
        """
        from polytask.data.preprocess_json import read_json  # noqa: PLC0415

        return read_json(path)

    def digest(self) -> str:
        """Hash of everything in it; equal preprocessing encodes equally."""
        from polytask.data.preprocess_json import digest  # noqa: PLC0415

        return digest(self)


class _Fit:
    """One pass: every feature and label gathers its own; each that fails is left out after its first problem."""

    def __init__(self, table: Table, schema: Schema, tasks: Sequence[Task]) -> None:
        self._table, self._schema, self._tasks = table, schema, {task.name: task for task in tasks}
        self._fits = {feature.name: start_fit(feature) for feature in schema.features}
        self._summaries = {task.name: LabelSummary(task.label, where=table.describe) for task in tasks}
        self._chains = {task.name: given_chain(tasks, task.name) for task in tasks}
        self._problems: dict[str, str] = {}

    def update(self, batch: pa.RecordBatch, first_row: int) -> None:
        where = _place(self._table, first_row)
        for name, fit in self._fits.items():
            self._attempt(f"feature {name}", partial(fit.update, batch, where))
        if self._schema.weight:
            name = self._schema.weight
            self._attempt("weight", partial(_row_weights, batch.column(name), name, where))
        spaces = {name: self._space(name, batch, where) for name in {task.given for task in self._tasks.values()} if name}
        for name, summary in self._summaries.items():
            inside = [space for given in self._chains[name] if (space := spaces[given]) is not None]
            rows = np.logical_and.reduce(np.stack(inside)) if inside else None
            column = batch.column(self._tasks[name].label)
            self._attempt(f"task {name}", partial(summary.update, column, where=rows))

    def result(self) -> Preprocessing:
        fitted: dict[str, Task] = {}
        for name, task in self._tasks.items():
            self._attempt(f"task {name}", partial(_fit_task, task, self._summaries[name], fitted))
        if self._problems:
            raise DataError("\n".join(dict.fromkeys(self._problems.values())))
        fields = [fit.field() for fit in self._fits.values()]
        return Preprocessing(
            tuple(field for field in fields if isinstance(field, CategoricalField)),
            tuple(field for field in fields if isinstance(field, NumericField)),
            tuple(field for field in fields if isinstance(field, MultiValuedField)),
            tuple(fitted.values()),
            self._schema.weight,
            self._schema.group,
        )

    def _attempt(self, place: str, step: Callable[[], object]) -> None:
        if place not in self._problems:
            try:
                step()
            except DataError as error:
                self._problems[place] = str(error)

    def _space(self, name: str, batch: pa.RecordBatch, where: Where) -> np.ndarray | None:
        """Rows of a batch where a binary task is 1; None after its labels turned out unreadable."""
        found: list[np.ndarray] = []
        task = self._tasks[name]
        self._attempt(f"task {name}", lambda: found.append(task.encode(batch.column(task.label), where=where) == 1))
        return found[0] if found else None


def _fit_task(task: Task, summary: LabelSummary, fitted: dict[str, Task]) -> None:
    fitted[task.name] = task.fitted(summary)


def _check_columns(table: Table, schema: Schema, tasks: Iterable[Task]) -> None:
    leaks = [task for task in tasks if task.label in schema.names]
    if leaks:
        received = ", ".join(f"{task.label!r} of task {task.name!r}" for task in leaks)
        raise ConfigError(
            message(
                "A label must not be a feature: the model would read the answer.", received=received, way_out="Drop the feature."
            )
        )
    roles = dict.fromkeys(schema.columns, "feature") | {task.label: f"label of task {task.name!r}" for task in tasks}
    absent = [name for name in roles if name not in table.names]
    if absent:
        place = table.describe(0).rpartition(", row")[0]
        raise DataError(_unknown(place, absent, table.names, roles))


def _unknown(place: str, absent: Sequence[str], names: Sequence[str], roles: dict[str, str] | None = None) -> str:
    lines = []
    for name in absent[:20]:
        role = f" ({roles[name]})" if roles else ""
        hint = nearest(name, names)
        lines.append(message(f"Column {name!r}{role} must be in {place}.", received="none of that name", way_out=hint[:300]))
    more = [f"And {len(absent) - 20} more."] if len(absent) > 20 else []
    return "\n".join([*lines, *more])


def _place(table: Table | None, first_row: int) -> Where:
    describe = row_of if table is None else table.describe
    return lambda row: describe(first_row + row)


def _rows(columns: Sequence[np.ndarray], num_rows: int, dtype: type[np.generic]) -> np.ndarray:
    """Columns as a row-major matrix. Blocks of rows keep what is written within the cache."""
    matrix = np.empty((num_rows, len(columns)), dtype)
    for start in range(0, num_rows, 2048):
        block = matrix[start : start + 2048]
        for place, column in enumerate(columns):
            block[:, place] = column[start : start + 2048]
    return matrix


def _row_weights(column: pa.Array, name: str, where: Where) -> Float[np.ndarray, " n"]:
    weights = as_numbers(column, name, where)
    refuse_infinite(weights, name, where)
    wrong = np.flatnonzero(~(weights >= 0))
    if wrong.size:
        row = int(wrong[0])
        received = "none" if np.isnan(weights[row]) else str(weights[row])
        raise DataError(
            message(
                f"Row weights in column {name!r} must be numbers from 0 up.",
                received=f"{received} in {where(row)}",
                way_out="A row that shall not count has weight 0.",
            )
        )
    return weights.astype(np.float32)
