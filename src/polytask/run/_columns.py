"""Predictions as named columns of a table."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import pyarrow as pa
import torch
from torch import Tensor
from torch.nn.functional import logsigmoid

from polytask.tasks import Task, given_chain, prediction_columns


class Column(NamedTuple):
    """One column of predictions.

    Args:
        name: Its name in the table.
        task: Task whose prediction it is.
        place: Which of the prediction's columns, or None where it has one only.
        chain: Binary tasks whose joint probability it is, the outermost first; () for the prediction itself.
    """

    name: str
    task: Task
    place: int | None = None
    chain: tuple[str, ...] = ()

    @property
    def type(self) -> pa.DataType:
        """float64 on a label's own scale, which may have many digits before the point; probabilities have float32."""
        return pa.float64() if self.task.kind in ("regression", "quantile", "value") else pa.float32()


def columns_of(tasks: Sequence[Task]) -> tuple[Column, ...]:
    """Columns that are written for tasks that are trained together; auxiliary ones are not served.

    A task that is `given` another says so in its name, `buy_given_click`, for its prediction holds on rows of that sample space.
    A binary one has its joint probability beside it, `click_and_buy`: that both happen, on any row.

    Example:
        >>> from polytask.tasks import Binary, Regression
        >>> tasks = [Binary("click"), Binary("buy", given="click"), Regression("watch", given="click")]
        >>> [column.name for column in columns_of(tasks)]
        ['click', 'buy_given_click', 'click_and_buy', 'watch_given_click']
    """
    columns = []
    for task in tasks:
        if task.auxiliary:
            continue
        names = prediction_columns(task)
        if task.given is not None:
            names = tuple(f"{task.name}_given_{task.given}{name.removeprefix(task.name)}" for name in names)
        columns += [Column(name, task, place if task.outcomes else None) for place, name in enumerate(names)]
        if task.given is not None and task.kind == "binary":
            chain = (*reversed(given_chain(tasks, task.name)), task.name)
            columns.append(Column("_and_".join(chain), task, chain=chain))
    return tuple(columns)


def to_arrow(columns: Sequence[Column], outputs: Mapping[str, Tensor]) -> dict[str, pa.Array]:
    """Columns of one batch.

    Args:
        columns: What is wanted.
        outputs: Output of every head, by task.
    """
    predictions: dict[str, Tensor] = {}
    arrays = {}
    for column in columns:
        name = column.task.name
        if column.chain:
            values = joint_probability([outputs[task] for task in column.chain])
        else:
            if name not in predictions:
                predictions[name] = column.task.predict(outputs[name].float())
            values = predictions[name] if column.place is None else predictions[name][:, column.place]
        arrays[column.name] = pa.array(values.cpu().contiguous().numpy(), column.type)
    return arrays


def joint_probability(logits: Sequence[Tensor]) -> Tensor:
    """Probability that all of a chain happens, multiplied in log space.

    Example:
        >>> joint_probability([torch.tensor([[0.0]]), torch.tensor([[0.0]])])
        tensor([0.2500])
    """
    return torch.stack([logsigmoid(logit.cpu().double()) for logit in logits]).sum(0).exp().squeeze(-1).float()
