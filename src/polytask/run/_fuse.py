"""Fuses the predictions of a table, and reads the held-out rows that a search for weights needs."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, final

import numpy as np
import pyarrow as pa

from polytask.data import Table, open_table
from polytask.data.numbers import as_numbers
from polytask.errors import ConfigError, DataError, PolytaskError, message, nearest
from polytask.fusion import Fusion, HeldOut, Objective, WeightSpace
from polytask.run._features import missing_columns
from polytask.run._write import write_batches, writer_of


def fuse_table(source: Any, fusion: Fusion, destination: str | Path, *, column: str = "score") -> int:
    """Writes a table with one more column, the fused score, and gives the number of rows; memory does not grow with them.

    Args:
        source: Frame, Arrow table, path, glob or address, with the predictions.
        fusion: Weights.
        destination: Parquet, CSV or Arrow file, by its suffix; it is written whole or not at all.
        column: Name of the score.

    Raises:
        DataError: Names the predictions that the table lacks, or the row without one; or if there is a column of that name.
        ConfigError: If the suffix is unknown.
    """
    writer_of(Path(destination))
    table = open_table(source)
    missing_columns(fusion.weights, table, what="predictions that the fusion weighs")
    if column in table.names:
        raise DataError(message("The score needs a name of its own.", received=repr(column), way_out="Give another --column."))
    schema = table.schema.append(pa.field(column, pa.float64()))
    return write_batches(Path(destination), schema, _scored(table, fusion, schema))


def _scored(table: Table, fusion: Fusion, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    first_row = 0
    for rows in table.batches(None):
        scores = fusion.of_arrays({name: _prediction(rows.column(name), name, table, first_row) for name in fusion.weights})
        first_row += rows.num_rows
        yield pa.record_batch([*rows.columns, pa.array(scores)], schema=schema)


def _prediction(column: pa.Array, name: str, table: Table, first_row: int) -> np.ndarray:
    def where(row: int) -> str:
        return table.describe(first_row + row)

    values = as_numbers(column, name, where)
    absent = np.flatnonzero(~np.isfinite(values))
    if len(absent):
        row = int(absent[0])
        raise DataError(message(f"Prediction {name!r} must be finite.", received=f"{values[row]} in {where(row)}"))
    return values


@final
@dataclass(frozen=True)
class SearchRequest:
    """A search for weights as it is asked for, in words.

    Args:
        objectives: Each `METRIC:COLUMN`.
        predictions: Columns that are fused.
        fusion: Name of the fusion.
        against: Predictions that count against a row.
        group: Column of the list, session or user.
        weight: Column of row weights.
        template: A fusion whose kind, options, predictions and signs are taken instead.
    """

    objectives: Sequence[str]
    predictions: Sequence[str] = ()
    fusion: str = "weighted_product"
    against: Sequence[str] = ()
    group: str | None = None
    weight: str | None = None
    template: Fusion | None = None


def read_search(source: Any, request: SearchRequest, *, labels: Any = None) -> tuple[WeightSpace, HeldOut, tuple[Objective, ...]]:
    """What `search_weights` takes.

    Args:
        source: Frame, Arrow table, path, glob or address, with the predictions; what is wanted of it is read into memory.
        request: What is searched.
        labels: The same rows in the same order with labels, group and weight, where those are no columns of the source: a
            prediction has the name of its label.

    Raises:
        ConfigError: Names every mistake of the request, and every column that a table lacks.
        DataError: If a column cannot be read as numbers, or the tables differ in length.
    """
    table = open_table(source)
    other = table if labels is None else open_table(labels)
    problems: list[str] = []
    objectives = [made for text in request.objectives if (made := _noted(problems, partial(Objective.parse, text)))]
    space = _noted(problems, partial(_space, request))
    predictions = list(request.predictions if request.template is None else request.template.weights)
    outcomes = list(dict.fromkeys(objective.label for objective in objectives))
    others = [*outcomes, *(name for name in (request.group, request.weight) if name is not None)]
    problems += [
        message(f"Objective {objective} needs groups.", received="none", way_out="Name the column: --group session.")
        for objective in objectives
        if objective.grouped and request.group is None
    ]
    problems += [*_absent(predictions, table), *_absent(others, other)]
    problems += [
        message(f"Objective {name!r} must be a label.", received="the prediction itself", way_out="Name the table: --labels.")
        for name in outcomes
        if labels is None and name in predictions
    ]
    if problems:
        count = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        raise ConfigError(f"The search has {count}:" + "".join(f"\n  {line}" for text in problems for line in text.splitlines()))
    own = _numbers(_read(table, predictions), predictions)
    return space, _held_out(own, _read(other, others), outcomes, request), tuple(objectives)


def _absent(names: Sequence[str], table: Table) -> list[str]:
    place = table.describe(0).partition(",")[0]
    return [
        message(f"{place} must have a column {name!r}.", received="none", way_out=nearest(name, table.names))
        for name in dict.fromkeys(names)
        if name not in table.names
    ]


def _read(table: Table, names: Sequence[str]) -> pa.Table:
    columns = list(dict.fromkeys(names))
    return pa.Table.from_batches(list(table.batches(columns)), pa.schema([table.schema.field(name) for name in columns]))


def _numbers(rows: pa.Table, names: Sequence[str]) -> dict[str, np.ndarray]:
    return {name: as_numbers(rows.column(name).combine_chunks(), name) for name in names}


def _space(request: SearchRequest) -> WeightSpace:
    if request.template is None:
        return WeightSpace(tuple(request.predictions), request.fusion, {}, tuple(request.against))
    template = request.template
    against = tuple(name for name, weight in template.weights.items() if weight < 0)
    return WeightSpace(tuple(template.weights), template.name, template.options, against)


def _held_out(own: dict[str, np.ndarray], rows: pa.Table, labels: Sequence[str], request: SearchRequest) -> HeldOut:
    groups = None if request.group is None else _groups(rows.column(request.group), request.group)
    weight = None if request.weight is None else _numbers(rows, [request.weight])[request.weight]
    return HeldOut(own, _numbers(rows, labels), groups, weight)


def _groups(column: pa.ChunkedArray, name: str) -> np.ndarray:
    """A number for each group, in the order in which they come."""
    if column.null_count:
        raise DataError(message(f"Every row needs its group in column {name!r}.", received=f"none in {column.null_count:,} rows"))
    encoded = column.combine_chunks()
    encoded = encoded if pa.types.is_dictionary(encoded.type) else encoded.dictionary_encode()
    numbers: np.ndarray = encoded.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    return numbers


def _noted(problems: list[str], make: Callable[[], Any]) -> Any:
    try:
        return make()
    except PolytaskError as error:
        problems.append(str(error))
        return None
