"""What every task is: what is predicted, on which rows, how it is judged."""

import math
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import pyarrow as pa
from jaxtyping import Float
from torch import Tensor

from polytask.batch import Labels
from polytask.errors import ConfigError, DataError, Where, message, row_of
from polytask.losses import hide_unobserved, mean_over_observed
from polytask.tasks._summary import LabelSummary

_NAME = re.compile(r"[\w-]+")


FITTED = MappingProxyType({"fitted": True})
"""Metadata of a field that `fitted` fills in from the labels; nobody declares it."""


@dataclass(frozen=True, kw_only=True)
class Task(ABC):
    """Base of the family: a frozen value that owns no parameters.

    Args:
        name: Name of the task; letters, digits, `_` and `-`.
        label: Column that holds the label; the name where not given.
        given: Name of a binary task: this one exists only on rows where that one is 1.
        reads: Tasks whose logits feed this task's head, with the gradient detached.
        auxiliary: Trained, not served.
        weight: What its loss is multiplied by before the balancer sees it.
        metrics: Names of metrics; those of the kind where not given. The first is the one it is judged by.

    Raises:
        ConfigError: If the name cannot be one, or the weight is not above 0.
    """

    name: str = field(kw_only=False)
    label: str = ""
    given: str | None = None
    reads: tuple[str, ...] = ()
    auxiliary: bool = False
    weight: float = 1.0
    metrics: tuple[str, ...] = ()

    kind: ClassVar[str]
    """Stem of the task's file and its name in the registry."""

    default_metrics: ClassVar[tuple[str, ...]]
    """Names of the metrics it is judged by where none are declared; the first chooses the model."""

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(message("A task name holds letters, digits, '_' and '-'.", received=repr(self.name)))
        if not 0 < self.weight < math.inf:
            raise ConfigError(message(f"The weight of task {self.name!r} must be above 0.", received=self.weight))
        object.__setattr__(self, "label", self.label or self.name)
        object.__setattr__(self, "metrics", self.metrics or self.default_metrics)
        self._check_declared()

    @property
    @abstractmethod
    def out_features(self) -> int:
        """Width o of the head's output.

        Raises:
            ConfigError: If it depends on classes that are neither declared nor fitted.
        """

    @property
    @abstractmethod
    def outcomes(self) -> tuple[str, ...]:
        """What each column of a prediction stands for, in words fit for a column name; () where it is one column."""

    @abstractmethod
    def fitted(self, summary: LabelSummary) -> "Task":
        """The task with what it must know of its labels (classes, base rates, mean and scale).

        Raises:
            DataError: If the column has no label, is constant, or holds values outside the task's domain.
        """

    @abstractmethod
    def initial_bias(self) -> tuple[float, ...]:
        """Output for which the prediction is what the labels are without any input; zeros where nothing was fitted."""

    @abstractmethod
    def encode(self, labels: pa.Array | pa.ChunkedArray, *, where: Where = row_of) -> Float[np.ndarray, " n"]:
        """Labels of a table, as float32 in the task's own encoding; NaN where missing.

        Args:
            labels: Column of the table; null and NaN are missing.
            where: Names a row of the column by its number, for messages.

        Raises:
            DataError: Names the row and the value that is outside the label's domain.
        """

    @abstractmethod
    def decode(self, labels: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Encoded labels on the scale of predictions: their own, the place of the class, or 0 and 1."""

    @abstractmethod
    def row_loss(self, output: Float[Tensor, "n o"], label: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Negative log-likelihood of each row, up to a constant; its mean is never negative."""

    @abstractmethod
    def predict(self, output: Float[Tensor, "n o"]) -> Float[Tensor, "n ..."]:
        """Prediction on the label's own scale: probability, value, rate; `n c` class probabilities or quantiles."""

    @abstractmethod
    def _check_declared(self) -> None:
        """Refuses fields that contradict one another."""

    def loss(self, output: Float[Tensor, "n o"], labels: Labels) -> Float[Tensor, ""]:
        """Weighted mean of `row_loss` over observed rows; what stands in the others does not matter."""
        return mean_over_observed(self.row_loss(hide_unobserved(output, labels), labels.value), labels)

    def _demand(self, summary: LabelSummary, *, text: bool) -> None:
        """Refuses a column in which there is nothing to learn, or text where numbers are wanted."""
        where = f"Task {self.name!r} ({self.kind})"
        if not summary.observed:
            expected = f"{where} needs labels in column {self.label!r}."
            way_out = "Check the column's name and the rows of `given`." if self.given else "Check the column, or drop the task."
            raise DataError(message(expected, received=f"none in {summary.rows} rows", way_out=way_out))
        if summary.text and not text:
            value, row = next(iter((summary.first_rows or {}).items()), ("text", 0))
            raise self._outside(
                "a number", f"{value!r} in {summary.where(row)}", "Declare the task multiclass or ordinal, or cast the column."
            )
        single = len(summary.counts) == 1 if summary.counts is not None else summary.minimum == summary.maximum
        if single:
            value = next(iter(summary.counts)) if summary.counts else summary.minimum
            expected = f"{where} needs labels that differ in column {self.label!r}."
            way_out = "There is nothing to learn: drop the task or take other rows."
            raise DataError(message(expected, received=f"{value!r} in all {summary.observed} labelled rows", way_out=way_out))

    def _outside(self, wanted: str, received: str, way_out: str) -> DataError:
        expected = f"Task {self.name!r} ({self.kind}) needs {wanted} in every labelled row of column {self.label!r}."
        return DataError(message(expected, received=received, way_out=way_out))


def prediction_columns(task: Task) -> tuple[str, ...]:
    """Names of the columns in which a task's predictions are written.

    Example:
        >>> from polytask.tasks import Binary, Quantile
        >>> prediction_columns(Binary("click")), prediction_columns(Quantile("minutes", levels=(0.1, 0.975)))
        (('click',), ('minutes_q10', 'minutes_q97.5'))
    """
    return tuple(f"{task.name}_{outcome}" for outcome in task.outcomes) or (task.name,)
