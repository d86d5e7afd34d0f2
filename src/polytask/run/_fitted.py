"""A trained model with all it takes to use it: what a run's directory holds."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, final

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Shaped

from polytask.batch import Batch
from polytask.calibration import Calibrations, Reliability, SliceCalibration
from polytask.checkpoint import load as read_checkpoint
from polytask.checkpoint import save as write_checkpoint
from polytask.config import RunConfig
from polytask.data import Loader, Preprocessing, Table, open_table
from polytask.errors import CheckpointError, DataError, message, nearest
from polytask.model import MultiTaskModel
from polytask.monitors import Observer
from polytask.precision import precision_context, resolve_precision
from polytask.run._build import build_model
from polytask.run._calibrations import raw_columns, read_calibrations, with_calibrated, write_calibrations
from polytask.run._columns import columns_of, to_arrow
from polytask.run._directory import RunDirectory
from polytask.run._features import missing_columns
from polytask.run._gathered import calibrate, column_slices, diagrams, gather, judge, left_out, tables_by_slice
from polytask.run._write import write_batches, writer_of
from polytask.train import resolve_device

_ROWS = 8192
"""Rows of a batch of predictions: enough to fill the products, few enough to stay in the cache of encoded columns."""


@dataclass(frozen=True)
class Evaluation:
    """What a trained model is worth on some rows.

    Args:
        source: What was evaluated.
        rows: Number of rows.
        metrics: Metrics of each task on its own sample space; of calibrated predictions where the run declares a calibration.
        gates: What the gates do (`GateStatistics`); empty where nothing is gated.
        findings: What is wrong with the model, each with its cause and a way out.
        bias: Examination by position as it was learnt, a line for each way of being shown; empty where no bias was declared.
        uncalibrated: Metrics of what is calibrated, as it was before; empty without calibration.
        slices: Predicted over observed in each slice, by task; empty where no slices were asked for.
        diagrams: Bins of a reliability diagram by task, raw and (where there are any) calibrated.
    """

    source: str
    rows: int
    metrics: Mapping[str, Mapping[str, float]]
    gates: Mapping[str, float] = field(default_factory=dict)
    findings: Sequence[str] = ()
    bias: Sequence[Mapping[str, Any]] = ()
    uncalibrated: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    slices: Mapping[str, Sequence[SliceCalibration]] = field(default_factory=dict)
    diagrams: Mapping[str, Mapping[str, Sequence[Reliability]]] = field(default_factory=dict)

    def report(self) -> dict[str, Any]:
        """As plain values."""
        metrics = {task: dict(found) for task, found in self.metrics.items()}
        seen: dict[str, Any] = {"gates": dict(self.gates), "findings": list(self.findings)}
        if self.bias:
            seen["bias"] = [dict(line) for line in self.bias]
        if self.uncalibrated:
            seen["uncalibrated"] = {task: dict(found) for task, found in self.uncalibrated.items()}
        if self.slices:
            seen["calibration"] = {task: [row._asdict() for row in rows] for task, rows in self.slices.items()}
        return {"source": self.source, "rows": self.rows, "metrics": metrics, **seen}


@final
class Fitted:
    """A trained run: give it rows, and it gives predictions or metrics.

    Args:
        config: What was declared.
        preprocessing: Fitted on the training rows; holds the fitted tasks.
        model: Trained.
        device: Where the model shall be.
        calibrations: What predictions go through; None where they stay as they are.
    """

    def __init__(
        self,
        config: RunConfig,
        preprocessing: Preprocessing,
        model: MultiTaskModel,
        device: torch.device,
        calibrations: Calibrations | None = None,
    ) -> None:
        self.config, self.preprocessing, self.device = config, preprocessing, device
        self.model = model.to(device).eval()
        self.precision = resolve_precision(config.plan.precision, device)
        self.calibrations = calibrations
        self.columns = columns_of(model.space)
        self.raw_columns = raw_columns(self.columns, calibrations)
        self._hidden = () if model.bias is None else model.bias.hidden

    def predict(self, source: Any, *, keep: Sequence[str] = (), raw: bool = False) -> Any:
        """Predictions of every row: a pandas or polars frame for one of those, else an Arrow table.

        Args:
            source: Frame, Arrow table, path, glob or address; labels are not needed.
            keep: Columns of the source that are passed through.
            raw: Whether what is calibrated is also given as it was before, `click_raw` beside `click`.

        Raises:
            DataError: Names the columns that the source lacks.
        """
        table = self._open(source)
        schema = self._schema(table, keep, raw=raw)
        return _like(source, pa.Table.from_batches(self._predicted(table, schema, keep), schema))

    def predict_into(self, source: Any, destination: str | Path, *, keep: Sequence[str] = (), raw: bool = False) -> int:
        """Streams predictions into a file and gives the number of rows; memory does not grow with them.

        Args:
            source: As of `predict`.
            destination: Parquet, CSV or Arrow file, by its suffix; it is written whole or not at all.
            keep: Columns of the source that are passed through.
            raw: As of `predict`.

        Raises:
            DataError: If the source lacks columns, or the file cannot be written.
            ConfigError: If the suffix is unknown.
        """
        writer_of(Path(destination))
        table = self._open(source)
        schema = self._schema(table, keep, raw=raw)
        return write_batches(Path(destination), schema, self._predicted(table, schema, keep))

    def evaluate(self, source: Any, *, by: str | Shaped[np.ndarray, " n"] | None = None) -> Evaluation:
        """Metrics on rows with labels.

        Args:
            source: Frame, Arrow table, path, glob or address, or the batches of a `Loader`.
            by: Column of the source in whose slices calibration is looked at; of a `Loader`, the slice of each row.

        Raises:
            DataError: Names the columns that the source lacks.
        """
        if isinstance(source, Loader):
            return self._evaluated("encoded rows", source, None if isinstance(by, str) else by)
        table = self._open(source)
        wanted = [*self._read(), *([by] if isinstance(by, str) else [])]
        missing_columns(wanted, table, what="columns that evaluation reads")
        slices = column_slices(table, by) if isinstance(by, str) else by
        return self._evaluated(str(source) if isinstance(source, str | Path) else "frame", self._labelled(table), slices)

    def save(self, directory: str | Path) -> None:
        """Writes all it takes to `load` it again.

        Raises:
            CheckpointError: If the directory cannot be written, or holds a run of another configuration.
        """
        place = RunDirectory(Path(directory))
        place.claim(self.config)
        self.preprocessing.save(place.preprocessing)
        write_checkpoint(place.checkpoint("best"), {"model": self.model.state_dict()})
        if self.calibrations is not None:
            write_calibrations(place.checkpoint("best"), self.calibrations)

    def _open(self, source: Any) -> Table:
        text = isinstance(source, str | Path) and any(mark in str(source).lower() for mark in (".csv", ".tsv", ".txt", ".data"))
        return open_table(source, csv=self.config.csv if text else None)

    def _schema(self, table: Table, keep: Sequence[str], *, raw: bool) -> pa.Schema:
        missing_columns([*self._read(labels=False), *keep], table, what="columns that prediction reads")
        columns = (*self.columns, *(self.raw_columns if raw else ()))
        names = [column.name for column in columns]
        twice = [name for name in keep if name in names]
        if twice:
            way_out = "Do not keep it: a prediction has this name."
            raise DataError(message("Columns of predictions need distinct names.", received=twice, way_out=way_out))
        return pa.schema([*(table.schema.field(name) for name in keep), *((column.name, column.type) for column in columns)])

    def _predicted(self, table: Table, schema: pa.Schema, keep: Sequence[str]) -> Iterator[pa.RecordBatch]:
        first_row, read = 0, list(dict.fromkeys([*self._read(labels=False), *keep]))
        for rows in table.batches(read, rows=_ROWS):
            columns = self.preprocessing.encode(self._filled(rows), first_row=first_row, labels=False, table=table)
            batch = columns.to_batch((), self.device)
            first_row += rows.num_rows
            with torch.inference_mode(), precision_context(self.precision, self.device):
                predictions = self.model.predict(batch.features)
            if self.calibrations is not None:
                predictions = with_calibrated(predictions, self.calibrations)
            arrays = {name: rows.column(name) for name in keep} | to_arrow((*self.columns, *self.raw_columns), predictions)
            yield pa.record_batch([arrays[name] for name in schema.names], schema=schema)

    def _labelled(self, table: Table) -> Iterator[Batch]:
        first_row, tasks = 0, self.preprocessing.tasks
        for rows in table.batches(list(self._read()), rows=_ROWS):
            yield self.preprocessing.encode(self._filled(rows), first_row=first_row, table=table).to_batch(tasks)
            first_row += rows.num_rows

    def _read(self, *, labels: bool = True) -> tuple[str, ...]:
        """Columns of a table that are read: those of a bias are known in training only."""
        return tuple(name for name in self.preprocessing.columns(labels=labels) if name not in self._hidden)

    def _filled(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """The rows with a bias's columns, missing: what stands there makes no difference to a score."""
        for name in self._hidden:
            empty = pa.nulls(rows.num_rows)
            place = rows.schema.get_field_index(name)
            rows = rows.append_column(name, empty) if place < 0 else rows.set_column(place, name, empty)
        return rows

    def _evaluated(self, source: str, batches: Iterable[Batch], slices: Shaped[np.ndarray, " n"] | None = None) -> Evaluation:
        observer, counter = Observer(self.model, self.device), _Counter(batches)
        settings: Any = {"device": self.device, "precision": self.precision, "observe": observer.see}
        raw = gather(self.model, observer.watched(counter), **settings)
        look = observer.look()
        found = raw if self.calibrations is None else calibrate(raw, self.calibrations)
        changed = {} if self.calibrations is None else {name: raw[name] for name in raw if name in self.calibrations.by_name}
        metrics = judge(found)
        return Evaluation(
            source,
            counter.rows,
            metrics,
            look.gates,
            (*(finding.text for finding in look.findings), *left_out(metrics)),
            uncalibrated=judge(changed),
            slices={} if slices is None else tables_by_slice(found, slices),
            diagrams=diagrams({"raw": raw} if self.calibrations is None else {"raw": raw, "calibrated": found}),
        )


def load(directory: str | Path, *, checkpoint: str = "best", device: str = "auto", raw: bool = False) -> Fitted:
    """Reads a trained run.

    Args:
        directory: What `train` or `Fitted.save` wrote.
        checkpoint: Which weights: `best`, `latest`, or `best-TASK` where those were kept.
        device: Where the model shall be.
        raw: Whether predictions stay as they are where the run declares a calibration.

    Raises:
        CheckpointError: If there is no run, it has no such checkpoint yet, its calibration is not fitted yet, or a file is
            damaged.
    """
    place = RunDirectory(Path(directory))
    config = place.read_config()
    file = place.checkpoint(checkpoint)
    if checkpoint == "best" and not file.exists():  # without validation rows there is no best
        file = place.checkpoint("latest")
    if not file.exists():
        there = sorted(found.stem for found in file.parent.glob("*.safetensors"))
        way_out = nearest(checkpoint, there) if there else "Train the run first."
        raise CheckpointError(message(f"{str(place.path)!r} has no such checkpoint.", received=repr(checkpoint), way_out=way_out))
    preprocessing = Preprocessing.load(place.preprocessing)
    model = build_model(config, preprocessing)
    model.load_state_dict(read_checkpoint(file, parts=["model"])["model"])
    calibrations = None if raw else read_calibrations(file, config.calibration)
    return Fitted(config, preprocessing, model, resolve_device(device), calibrations)


class _Counter:
    def __init__(self, batches: Iterable[Batch]) -> None:
        self._batches, self.rows = batches, 0

    def __iter__(self) -> Iterator[Batch]:
        for batch in self._batches:
            self.rows += batch.num_rows
            yield batch


def _like(source: Any, table: pa.Table) -> Any:
    """The table as the kind of frame that was given."""
    kind = type(source).__module__.partition(".")[0]
    if kind == "pandas":
        frame = table.to_pandas()
        frame.index = source.index
        return frame
    if kind == "polars":
        import polars  # noqa: PLC0415 - it is there: the caller has one of its frames

        return polars.from_arrow(table)
    return table
