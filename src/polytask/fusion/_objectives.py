"""What a fusion is searched for: metrics of its score on labels of held-out rows."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import final

import numpy as np
from jaxtyping import Float, Shaped

from polytask.errors import ConfigError, DataError, message, nearest
from polytask.metrics import find_metric

Score = Callable[[Float[np.ndarray, " n"]], tuple[float, ...]]
"""Value of every objective for a score of all rows."""


@final
@dataclass(frozen=True)
class Objective:
    """A metric of the fused score on one label: `ndcg@10:click`, `grouped_auc:buy`, `value_per_impression@3:revenue`.

    Example:
        >>> Objective.parse("ndcg@10:click")
        Objective(metric='ndcg@10', label='click')

    Args:
        metric: A metric of rankings, with its number of ranks where it has one.
        label: Column of the label or value; rows without one do not count.

    Raises:
        ConfigError: If there is no such metric, or it does not judge an order.
    """

    metric: str
    label: str

    def __post_init__(self) -> None:
        found = find_metric(self.metric)
        if not (found.grouped or self.metric == "auc"):
            way_out = "Take ndcg@10, grouped_auc, mrr, hit_rate@10, value_per_impression@1 or auc."
            raise ConfigError(message("An objective judges the order of rows.", received=repr(self.metric), way_out=way_out))

    @classmethod
    def parse(cls, text: str) -> "Objective":
        """An objective as it is written: `METRIC:COLUMN`.

        Raises:
            ConfigError: If it is written otherwise, or there is no such metric.
        """
        metric, colon, label = text.partition(":")
        if not colon or not label:
            way_out = "For example ndcg@10:click or value_per_impression@1:price."
            raise ConfigError(message("An objective is METRIC:COLUMN.", received=repr(text), way_out=way_out))
        return cls(metric, label)

    @property
    def grouped(self) -> bool:
        """Whether it needs groups."""
        return find_metric(self.metric).grouped

    def __str__(self) -> str:
        return f"{self.metric}:{self.label}"


@final
@dataclass(frozen=True)
class HeldOut:
    """Held-out rows of a log: predictions, and what happened.

    Args:
        predictions: Predictions by name, on their own scale, finite.
        labels: Labels and values by name; NaN where there is none.
        groups: Group (list, session, user) of each row.
        weight: Weight of each row.

    Raises:
        DataError: Names what differs in length or is not finite.
    """

    predictions: Mapping[str, Float[np.ndarray, " n"]]
    labels: Mapping[str, Float[np.ndarray, " n"]]
    groups: Shaped[np.ndarray, " n"] | None = None
    weight: Float[np.ndarray, " n"] | None = None

    def __post_init__(self) -> None:
        for name, values in self.predictions.items():
            if not np.isfinite(values).all():
                row = int(np.flatnonzero(~np.isfinite(values))[0])
                raise DataError(message(f"Prediction {name!r} must be finite.", received=f"{values[row]} in row {row}"))
        columns = {**self.predictions, **self.labels, "groups": self.groups, "weight": self.weight}
        lengths = {name: len(values) for name, values in columns.items() if values is not None}
        if len(set(lengths.values())) > 1:
            raise DataError(message("Held-out columns must have one length.", received=lengths))


def objective_mistakes(objectives: Sequence[Objective], held_out: HeldOut) -> Iterator[str]:
    """All that the rows lack for these objectives."""
    if not objectives:
        yield message("A search needs an objective.", received="none", way_out="For example ndcg@10:click.")
    if len(set(objectives)) < len(objectives):
        yield message("Each objective is named once.", received=", ".join(map(str, objectives)))
    for objective in objectives:
        if objective.label not in held_out.labels:
            way_out = nearest(objective.label, held_out.labels)
            yield message(f"Objective {objective} needs its label.", received="no such column", way_out=way_out)
        if objective.grouped and held_out.groups is None:
            yield message(f"Objective {objective} needs groups.", received="none", way_out="Name the column of the list or user.")


def scorer(objectives: Sequence[Objective], held_out: HeldOut) -> Score:
    """A function from scores to the values of all objectives; rows without a label are cut away once.

    Raises:
        DataError: From the function, if an objective has no value on these rows: with the reason.
    """
    judges = [_judge(objective, held_out) for objective in objectives]
    return lambda scores: tuple(judge(scores) for judge in judges)


def _judge(objective: Objective, held_out: HeldOut) -> Callable[[np.ndarray], float]:
    label = held_out.labels[objective.label]
    rows = np.flatnonzero(~np.isnan(label))
    label = label[rows]
    weight = None if held_out.weight is None else held_out.weight[rows]
    given = {}
    if objective.grouped and held_out.groups is not None:
        _, given["groups"] = np.unique(held_out.groups[rows], return_inverse=True)  # numbers sort faster than text
    metric = find_metric(objective.metric)

    def judge(scores: np.ndarray) -> float:
        value = metric.function(label, scores[rows], weight, **given)
        if np.isnan(value):
            reason = getattr(value, "reason", "it is not a number")
            raise DataError(message(f"Objective {objective} must have a value on the held-out rows.", received=reason))
        return float(value)

    return judge
