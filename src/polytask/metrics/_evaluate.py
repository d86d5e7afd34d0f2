"""A task's metrics on the rows it exists on."""

import functools
import inspect
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Shaped

from polytask.errors import ConfigError, message, nearest
from polytask.metrics._base import NO_ROW, Metric, Undefined


@runtime_checkable
class Judged(Protocol):
    """What is known here of a task: it comes later in the stream of imports."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of its metrics."""

    def decode(self, labels: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
        """Encoded labels on the scale of predictions."""


def evaluate(
    task: Judged,
    label: Float[np.ndarray, " n"],
    prediction: Float[np.ndarray, "n ..."],
    weight: Float[np.ndarray, " n"] | None = None,
    *,
    groups: Shaped[np.ndarray, " n"] | None = None,
) -> dict[str, float]:
    """The task's metrics, by name, on observed rows; on the label's own scale.

    A metric that is not defined (one class only, no row, a prediction that is not a number) is `Undefined`: a NaN with a reason.

    Args:
        task: Task, with its metrics.
        label: Encoded labels (`Task.encode`); NaN where missing or outside the sample space.
        prediction: What `Task.predict` gave.
        weight: Weight of each row; rows of weight 0 do not count.
        groups: Group (user, query) of each row, for metrics inside groups.

    Raises:
        ConfigError: If the task names an unknown metric.

    Example:
        >>> from polytask.tasks import Regression
        >>> nan = float("nan")
        >>> evaluate(Regression("y", metrics=("mae",)), np.array([1.0, nan]), np.array([3.0, 0.0]))
        {'mae': 2.0}
    """
    metrics = {name: find_metric(name) for name in task.metrics}
    rows = _rows(label, weight)
    if not rows.any():
        return dict.fromkeys(metrics, Undefined(NO_ROW))
    if not rows.all():
        label, prediction = label[rows], prediction[rows]
        weight, groups = (None if values is None else values[rows] for values in (weight, groups))
    if np.isnan(prediction).any():
        return dict.fromkeys(metrics, Undefined("a prediction is not a number"))
    own = task.decode(label)
    return {
        name: Undefined("no groups were given")
        if metric.grouped and groups is None
        else metric.function(own, prediction, weight, **_options(metric, task, groups))
        for name, metric in metrics.items()
    }


def find_metric(name: str) -> Metric:
    """A metric by its name; `ndcg@10` is that of the first 10 ranks, where the metric has a `k`.

    Raises:
        ConfigError: If there is none.

    Example:
        >>> label, prediction = np.array([0.0, 1.0]), np.array([0.9, 0.1])
        >>> find_metric("hit_rate@1").function(label, prediction, groups=np.zeros(2))
        0.0
    """
    from polytask.metrics import METRICS  # noqa: PLC0415 - the registry imports the members

    base, cut, ranks = name.partition("@")
    if base not in METRICS:
        raise ConfigError(message("Unknown metric.", received=repr(name), way_out=nearest(base, METRICS)))
    metric = METRICS[base]
    if not cut:
        return metric
    if "k" not in inspect.signature(metric.function).parameters:
        raise ConfigError(message(f"{base!r} is no metric of first ranks.", received=repr(name), way_out=f"Write {base!r}."))
    if not ranks.isdecimal() or int(ranks) < 1:
        raise ConfigError(message("A number of ranks follows the '@'.", received=repr(name), way_out=f"For example '{base}@10'."))
    return replace(metric, function=functools.wraps(metric.function)(functools.partial(metric.function, k=int(ranks))))


def _rows(label: Float[np.ndarray, " n"], weight: Float[np.ndarray, " n"] | None) -> Bool[np.ndarray, " n"]:
    observed: np.ndarray = ~np.isnan(label)
    return observed if weight is None else observed & (weight > 0)


def _options(metric: Metric, task: Judged, groups: Shaped[np.ndarray, " n"] | None) -> dict[str, Any]:
    return {name: getattr(task, name) for name in metric.from_task} | ({"groups": groups} if metric.grouped else {})
