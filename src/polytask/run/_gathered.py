"""Labels and predictions of a whole table, task by task: what metrics, calibrations and their tables are made of."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from jaxtyping import Float, Int, Shaped

from polytask import metrics
from polytask.batch import Batch
from polytask.calibration import (
    CALIBRATIONS,
    Calibrations,
    Reliability,
    SliceCalibration,
    calibration_table,
    reliability,
    slices_of,
)
from polytask.data import Table
from polytask.evaluate import judged
from polytask.model import MultiTaskModel, Outputs
from polytask.spaces import Joint
from polytask.tasks import Task


class Gathered(NamedTuple):
    """Labelled rows of one task, or of a joint prediction.

    Args:
        of: The task or joint prediction.
        label: Encoded labels.
        prediction: On the labels' own scale.
        weight: Weight of each row, or None where all weigh the same.
        row: Place of each row in the table.
        group: Number of the group of each row, or None where none was declared.
    """

    of: Task | Joint
    label: Float[np.ndarray, " n"]
    prediction: Float[np.ndarray, "n ..."]
    weight: Float[np.ndarray, " n"] | None
    row: Int[np.ndarray, " n"]
    group: Int[np.ndarray, " n"] | None = None

    @property
    def kind(self) -> str:
        """Kind of the task."""
        return self.of.task.kind if isinstance(self.of, Joint) else self.of.kind

    @property
    def own_label(self) -> Float[np.ndarray, " n"]:
        """Labels on their own scale."""
        return self.of.decode(self.label)


def gather(
    model: MultiTaskModel,
    batches: Iterable[Batch],
    *,
    device: torch.device | str,
    precision: str,
    observe: Callable[[Outputs], None] | None = None,
) -> dict[str, Gathered]:
    """Every served task and joint prediction that has a labelled row, by name.

    Args:
        model: The model.
        batches: Rows with labels.
        device: Where the model is.
        precision: Arithmetic of the forward pass.
        observe: Sees the outputs of each batch.
    """
    served: tuple[Task | Joint, ...] = (*model.space.served, *model.space.joints())
    parts: dict[str, list[tuple[Any, ...]]] = {task.name: [] for task in served}
    start = 0
    for batch in judged(model, batches, device=device, precision=precision, observe=observe):
        num_rows = 0
        for name, found in batch.items():
            num_rows = len(found.observed)
            parts[name].append((found.label, found.prediction, found.weight, start + np.flatnonzero(found.observed), found.group))
        start += num_rows
    return {task.name: Gathered(task, *map(_joined, zip(*parts[task.name], strict=True))) for task in served if parts[task.name]}


def judge(found: Mapping[str, Gathered]) -> dict[str, dict[str, float]]:
    """Metrics of each."""
    return {
        name: metrics.evaluate(rows.of, rows.label, rows.prediction, rows.weight, groups=rows.group)
        for name, rows in found.items()
    }


def left_out(judged_metrics: Mapping[str, Mapping[str, float]]) -> tuple[str, ...]:
    """What metrics over groups left out, in words.

    Example:
        >>> value = metrics.OverGroups(0.5, groups=3, left_out=2, why="without a positive row")
        >>> left_out({"click": {"ndcg@10": value, "auc": 0.7}})
        ('click.ndcg@10: 2 of 5 groups without a positive row are left out.',)
    """
    values = [(f"{task}.{name}", value) for task, own in judged_metrics.items() for name, value in own.items()]
    return tuple(f"{place}: {value.note}." for place, value in values if isinstance(value, metrics.OverGroups) and value.note)


def fit_calibrations(found: Mapping[str, Gathered], name: str, *, joint: bool, skip: Iterable[str]) -> Calibrations:
    """A calibration for everything it is for.

    Args:
        found: Validation rows.
        name: Which calibration.
        joint: Whether joint predictions have their own.
        skip: What stays as it is.
    """
    method, left = CALIBRATIONS[name], set(skip)
    wanted = {key: rows for key, rows in found.items() if rows.kind in method.kinds and key not in left}
    fitted = {
        key: method.fit(rows.own_label, rows.prediction, rows.weight)
        for key, rows in wanted.items()
        if (joint or not isinstance(rows.of, Joint)) and (rows.weight is None or (rows.weight > 0).any())
    }
    return Calibrations(fitted)


def calibrate(found: Mapping[str, Gathered], calibrations: Calibrations) -> dict[str, Gathered]:
    """The same rows with calibrated predictions."""
    return {name: rows._replace(prediction=calibrations.apply(name, rows.prediction)) for name, rows in found.items()}


def tables_by_slice(found: Mapping[str, Gathered], slices: Shaped[np.ndarray, " n"]) -> dict[str, list[SliceCalibration]]:
    """Calibration by slice of every task of which predicted over observed says something.

    Args:
        found: Labelled rows.
        slices: Slice of each row of the table.
    """
    kinds = metrics.METRICS["calibration_ratio"].kinds
    return {
        name: calibration_table(rows.own_label, rows.prediction, slices[rows.row], rows.weight)
        for name, rows in found.items()
        if rows.kind in kinds
    }


def diagrams(ways: Mapping[str, Mapping[str, Gathered]]) -> dict[str, dict[str, list[Reliability]]]:
    """Bins of every binary prediction, by the way it was made: raw, calibrated.

    Args:
        ways: Labelled rows by way.
    """
    found: dict[str, dict[str, list[Reliability]]] = {}
    for way, tasks in ways.items():
        for name, rows in tasks.items():
            if rows.kind == "binary" and not np.isnan(rows.prediction).any():
                found.setdefault(name, {})[way] = reliability(rows.own_label, rows.prediction, rows.weight)
    return found


def column_slices(table: Table, column: str) -> Shaped[np.ndarray, " n"]:
    """Slice of each row of a table, by one of its columns."""
    return slices_of(pa.chunked_array([rows.column(0) for rows in table.batches([column])], table.schema.field(column).type))


def _joined(parts: tuple[Any, ...]) -> Any:
    return None if parts[0] is None else np.concatenate(parts)
