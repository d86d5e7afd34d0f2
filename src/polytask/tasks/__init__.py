"""Tasks: what is predicted, on which rows, how it is judged."""

from polytask.tasks._base import Task, prediction_columns
from polytask.tasks._binary import Binary
from polytask.tasks._count import Count
from polytask.tasks._graph import check_tasks, given_chain
from polytask.tasks._json import task_from_json, task_to_json
from polytask.tasks._multiclass import Multiclass
from polytask.tasks._ordinal import Ordinal
from polytask.tasks._quantile import Quantile
from polytask.tasks._regression import Regression
from polytask.tasks._summary import LabelSummary
from polytask.tasks._value import Value

TASKS: dict[str, type[Task]] = {
    "binary": Binary,
    "count": Count,
    "multiclass": Multiclass,
    "ordinal": Ordinal,
    "quantile": Quantile,
    "regression": Regression,
    "value": Value,
}

__all__ = [
    "TASKS",
    "Binary",
    "Count",
    "LabelSummary",
    "Multiclass",
    "Ordinal",
    "Quantile",
    "Regression",
    "Task",
    "Value",
    "check_tasks",
    "given_chain",
    "prediction_columns",
    "task_from_json",
    "task_to_json",
]
