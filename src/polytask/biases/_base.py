"""What every remedy for a selection bias is: columns that say how a row was shown, and what they did to the labels."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from polytask.batch import Batch, Features, Labels
from polytask.encoders import FittedColumns
from polytask.errors import ConfigError, message, nearest
from polytask.tasks import Task

Curve = list[dict[str, Any]]
"""A bias by position: a line for each task and each way of being shown, with the columns' values, `logit` and `examination`."""


class Corrected(NamedTuple):
    """What a bias makes of a training step.

    Args:
        by_task: Output of each task on the rows as they were shown.
        weights: What a positive label of each row counts, before it is normalised; None where labels stay as they are.
        penalty: What training adds to the losses, or None.
    """

    by_task: dict[str, Float[Tensor, "n _"]]
    weights: Float[Tensor, " n"] | None = None
    penalty: Float[Tensor, ""] | None = None


class Seen(NamedTuple):
    """Rows of a log, and what the model gives for them outside training.

    Args:
        features: All columns.
        outputs: Served outputs by task.
        labels: Labels by task.
    """

    features: Features
    outputs: Mapping[str, Float[Tensor, "n _"]]
    labels: Mapping[str, Labels]


class Bias(nn.Module, ABC):
    """Base of the family. Built alike: `Bias(preprocessing, *, columns, tasks, ...)`; exchangeable by name.

    Bias columns say how a row was shown: its position, the device. They are not known when rows are scored, so the encoder does
    not read them, a table to predict may lack them, and outside training nothing depends on what stands in them.

    Args:
        preprocessing: Fitted columns, the bias columns among the categorical ones.
        columns: Bias columns, the position first.
        tasks: Names of the binary tasks whose labels depend on them.
        known: Those of `columns` that are known when rows are scored, such as the device: the encoder reads them as well.
        others: Further columns that only the remedy reads.

    Raises:
        ConfigError: If there is no column or no task, a name comes twice, or a column is unknown or not categorical.
    """

    needs_fit: ClassVar[bool] = False
    """Whether `fit` must see the training rows before training begins."""

    changes_labels: ClassVar[bool] = False
    """Whether `labels` makes others of them, which a space that goes by labels of a click could not read."""

    def __init__(
        self,
        preprocessing: FittedColumns,
        *,
        columns: Sequence[str],
        tasks: Sequence[str],
        known: Sequence[str] = (),
        others: Sequence[str] = (),
    ) -> None:
        super().__init__()
        for what, names in (("columns, the position first", columns), ("tasks", tasks)):
            if not names or len(set(names)) != len(names):
                raise ConfigError(message(f"A bias needs {what}, each once.", received=list(names)))
        for name in known:
            if name not in columns[1:]:
                expected = "`known` names columns of the bias other than the position."
                raise ConfigError(message(expected, received=repr(name), way_out=nearest(name, columns[1:])))
        self.columns, self.tasks = tuple(columns), tuple(tasks)
        self.hidden = tuple(dict.fromkeys([*(name for name in columns if name not in known), *others]))
        self.fields = tuple(categorical_field(preprocessing, name) for name in columns)
        self.sizes = tuple(field.size for field in self.fields)
        names = [field.name for field in preprocessing.categorical]
        self.register_buffer("places", torch.tensor([names.index(name) for name in columns]), persistent=False)
        kept = [place for place, name in enumerate(names) if name not in self.hidden]
        self.register_buffer("kept", torch.tensor(kept, dtype=torch.int64), persistent=False)
        self.places: Tensor
        self.kept: Tensor

    def visible(self, preprocessing: FittedColumns) -> FittedColumns:
        """The columns that the encoder is built for."""
        fields = tuple(field for field in preprocessing.categorical if field.name not in self.hidden)
        return Visible(fields, preprocessing.numeric, preprocessing.multi_valued)

    def inputs(self, features: Features) -> Features:
        """What the encoder reads of some rows."""
        return features._replace(categorical=features.categorical.index_select(1, self.kept))

    @abstractmethod
    def correct(self, by_task: Mapping[str, Float[Tensor, "n _"]], shown: Features, shared: Float[Tensor, "k n *h"]) -> Corrected:
        """What the step in training trains on.

        Args:
            by_task: Outputs that do not depend on how rows were shown, by task, in the order of the representations.
            shown: All columns.
            shared: The tasks' representations.
        """

    def served(self, by_task: dict[str, Float[Tensor, "n _"]]) -> dict[str, Float[Tensor, "n _"]]:
        """Outputs outside training, on the scale of predictions."""
        return by_task

    def labels(self, labels: Labels, weights: Float[Tensor, " n"] | None) -> Labels:  # noqa: ARG002 - most leave them alone
        """The labels of a named task that its loss is taken on."""
        return labels

    def fit(self, batches: Iterable[Batch]) -> None:
        """Learns from the training rows what must be known before training. One pass; most have nothing to learn."""

    def curve(self, seen: Seen | None = None) -> Curve:  # noqa: ARG002 - most need no rows
        """The bias by position, relative to the first position of the same device; empty where none is estimated.

        Args:
            seen: Rows on which it is refined, given what the model says of them.
        """
        return []

    def attach(self, tasks: Sequence[Task], in_features: int) -> None:  # noqa: ARG002 - most have no use for the width
        """Called by the model that it becomes a part of.

        Args:
            tasks: All tasks of the model, in the order of the representations.
            in_features: Width h of each task's representation.

        Raises:
            ConfigError: If a named task is no binary task of the model.
        """
        kinds = {task.name: task.kind for task in tasks}
        for name in self.tasks:
            if kinds.get(name) != "binary":
                received = f"{name!r}, {kinds[name]}" if name in kinds else repr(name)
                way_out = nearest(name, [task for task, kind in kinds.items() if kind == "binary"])
                raise ConfigError(message("A bias needs binary tasks of the model.", received=received, way_out=way_out))

    def cells(self, features: Features) -> Int[Tensor, " n"]:
        """Number of each row's way of being shown: the bias columns' ids as one; 0 is where all are missing."""
        ids = features.categorical.index_select(1, self.places).long()
        cell = ids[:, 0]
        for column, size in enumerate(self.sizes[1:], start=1):
            cell = cell * size + ids[:, column]
        return cell

    def lines(self) -> list[tuple[int, int, dict[str, Any]]]:
        """Cells whose values are known, with the first position's of the same device; positions rise, devices stand together."""
        named = [known_values(field) for field in self.fields]
        contexts: list[tuple[int, dict[str, Any]]] = [(0, {})]
        for column, size, values in zip(self.columns[1:], self.sizes[1:], named[1:], strict=True):
            contexts = [(cell * size + id_, {**about, column: value}) for cell, about in contexts for id_, value in values]
        stride, positions = math.prod(self.sizes[1:]), named[0]
        return [
            (id_ * stride + context, positions[0][0] * stride + context, {self.columns[0]: value, **about})
            for context, about in contexts
            for id_, value in positions
        ]


@final
@dataclass(frozen=True)
class Visible:
    """Fitted columns without those of a bias."""

    categorical: tuple[Any, ...]
    numeric: tuple[Any, ...]
    multi_valued: tuple[Any, ...]


def categorical_field(preprocessing: FittedColumns, name: str) -> Any:
    """The field of a column.

    Raises:
        ConfigError: If there is none, or it is of another kind.
    """
    found = next((field for field in preprocessing.categorical if field.name == name), None)
    if found is None:
        others = [field.name for field in (*preprocessing.numeric, *preprocessing.multi_valued)]
        way_out = "Declare it categorical." if name in others else nearest(name, [f.name for f in preprocessing.categorical])
        raise ConfigError(message("A column of a bias must be a categorical feature.", received=repr(name), way_out=way_out))
    return found


def known_values(field: Any) -> list[tuple[int, Any]]:
    """Ids and values of a field's dictionary, by rising value; ids stand for themselves where values were hashed."""
    values = tuple(getattr(field, "values", ()))
    first = field.size - len(values)
    pairs = list(enumerate(values, start=first)) if values else [(id_, id_) for id_ in range(1, field.size)]
    return sorted(pairs, key=lambda pair: pair[1])
