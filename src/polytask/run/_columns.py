"""Predictions as named columns of a table."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa
from torch import Tensor

from polytask.spaces import Space
from polytask.tasks import Task, prediction_columns


class Column(NamedTuple):
    """One column of predictions.

    Args:
        name: Its name in the table.
        task: Task whose prediction it is.
        prediction: Name of the prediction: the task, or of a whole chain.
        place: Which of the prediction's columns, or None where it has one only.
    """

    name: str
    task: Task
    prediction: str
    place: int | None = None

    @property
    def type(self) -> pa.DataType:
        """float64 on a label's own scale, which may have many digits before the point; probabilities have float32."""
        return pa.float64() if self.task.kind in ("regression", "quantile", "value") else pa.float32()


def columns_of(space: Space) -> tuple[Column, ...]:
    """Columns that are written for tasks that are trained together; auxiliary ones are not served.

    A task that is `given` another has two, on every row: `buy`, p(buy | click), what it would be in its sample space, and
    beside it the joint one, `click_and_buy`: that both happen.

    Example:
        >>> from polytask.spaces import Clicked
        >>> from polytask.tasks import Binary, Regression
        >>> tasks = [Binary("click"), Binary("buy", given="click"), Regression("watch", given="click")]
        >>> [column.name for column in columns_of(Clicked(tasks))]
        ['click', 'buy', 'click_and_buy', 'watch', 'click_and_watch']
    """
    columns = []
    for task in space.served:
        names = prediction_columns(task)
        columns += [Column(name, task, task.name, place if task.outcomes else None) for place, name in enumerate(names)]
        columns += [Column(joint.name, task, joint.name) for joint in space.joints([task])]
    return tuple(columns)


def to_arrow(columns: Sequence[Column], predictions: Mapping[str, Tensor]) -> dict[str, pa.Array]:
    """Columns of one batch.

    Args:
        columns: What is wanted.
        predictions: What `Space.predict` gave.
    """
    arrays = {}
    for column in columns:
        values = predictions[column.prediction]
        values = values if column.place is None else values[:, column.place]
        arrays[column.name] = pa.array(values.cpu().contiguous().numpy(), column.type)
    return arrays
