"""What every task is: what is predicted, on which rows, how it is judged."""

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import pyarrow as pa
from jaxtyping import Float
from torch import Tensor

from polytask.batch import Labels
from polytask.errors import ConfigError, message
from polytask.tasks._summary import LabelSummary

_NAME = re.compile(r"[\w-]+")


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

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ConfigError(message("A task name holds letters, digits, '_' and '-'.", received=repr(self.name)))
        object.__setattr__(self, "label", self.label or self.name)

    @property
    @abstractmethod
    def out_features(self) -> int:
        """Width o of the head's output."""

    @abstractmethod
    def fitted(self, summary: LabelSummary) -> "Task":
        """The task with what it must know of its labels (classes, mean and scale).

        Raises:
            DataError: If the column has no label, is constant, or holds values outside the task's domain.
        """

    @abstractmethod
    def encode(self, labels: pa.Array) -> Float[np.ndarray, " n"]:
        """Labels of a table, as float32 in the task's own encoding; NaN where missing.

        Raises:
            DataError: Names the row (counted from 0 inside `labels`) and the value that is outside the label's domain.
        """

    @abstractmethod
    def loss(self, output: Float[Tensor, "n o"], labels: Labels) -> Float[Tensor, ""]:
        """Weighted mean of a per-row negative log-likelihood over observed rows."""

    @abstractmethod
    def predict(self, output: Float[Tensor, "n o"]) -> Float[Tensor, "n ..."]:
        """Prediction on the label's own scale: probability, value, rate; `n c` class probabilities or quantiles."""
