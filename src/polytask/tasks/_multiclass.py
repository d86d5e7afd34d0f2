"""One of several classes."""

import math
from dataclasses import dataclass, field, replace
from typing import ClassVar, final

import numpy as np
import pyarrow as pa
from jaxtyping import Float
from torch import Tensor

from polytask.errors import DataError, Where, row_of
from polytask.losses import cross_entropy
from polytask.tasks._base import FITTED, Task
from polytask.tasks._column import Value
from polytask.tasks._domain import check_options, placed_labels, refuse_counted, shares, tidy, undeclared
from polytask.tasks._summary import LabelSummary


@final
@dataclass(frozen=True, kw_only=True)
class Multiclass(Task):
    """One of several classes that exclude one another: a device, a topic, a species.

    The outputs are unnormalised log-probabilities; the loss is cross-entropy, the prediction a probability for each class.

    For classes with an order prefer `Ordinal`; for classes that may hold together, a `Binary` each. It adds an output a class.

    Args:
        classes: Values of the label, in the order of predictions; those that occur, sorted, where not given.
        base_rates: Share of each class among the labels.

    Raises:
        ConfigError: If one class is declared, or a class twice.

    Example:
        >>> task = Multiclass("device", classes=("phone", "tablet", "desktop"))
        >>> task.encode(pa.array(["desktop", None, "phone"])).tolist()
        [2.0, nan, 0.0]
    """

    kind: ClassVar[str] = "multiclass"
    default_metrics: ClassVar[tuple[str, ...]] = ("multiclass_log_loss", "accuracy", "macro_f1")

    classes: tuple[Value, ...] = ()
    base_rates: tuple[float, ...] = field(default=(), metadata=FITTED)

    @property
    def out_features(self) -> int:
        """One a class."""
        return len(self._known())

    @property
    def outcomes(self) -> tuple[str, ...]:
        """The classes."""
        return tuple(map(str, self._known()))

    def fitted(self, summary: LabelSummary) -> "Multiclass":
        """The task with its classes and their shares."""
        self._demand(summary, text=True)
        if summary.counts is None:
            raise self._refusal(f"more than {summary.max_distinct} distinct values")
        classes = self.classes or tidy(summary.counts)
        counts = refuse_counted(summary, classes, self._refusal)
        return replace(self, classes=classes, base_rates=shares(counts))

    def initial_bias(self) -> tuple[float, ...]:
        """Logarithms of the classes' shares."""
        return tuple(map(math.log, self.base_rates)) or (0.0,) * self.out_features

    def encode(self, labels: pa.Array | pa.ChunkedArray, *, where: Where = row_of) -> Float[np.ndarray, " n"]:
        """Place of the class; NaN where missing."""
        return placed_labels(labels, self._known(), self.label, where, self._refusal)

    def decode(self, labels: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Place of the class."""
        return labels

    def row_loss(self, output: Float[Tensor, "n c"], label: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Cross-entropy."""
        return cross_entropy(output, label)

    def predict(self, output: Float[Tensor, "n c"]) -> Float[Tensor, "n c"]:
        """Probability of each class."""
        return output.float().softmax(dim=1)

    def _check_declared(self) -> None:
        check_options(self.name, "classes", self.classes)

    def _known(self) -> tuple[Value, ...]:
        if not self.classes:
            raise undeclared(self.name, "classes")
        return self.classes

    def _refusal(self, received: str) -> DataError:
        wanted = f"one of its {len(self.classes)} classes" if self.classes else "one of few values"
        way_out = "Add the class to `classes`, or leave the label empty." if self.classes else "Declare the task regression."
        return self._outside(wanted, received, way_out)
