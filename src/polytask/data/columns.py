"""Encoded rows as NumPy arrays: what preprocessing makes, the store keeps and a batch is built from."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from polytask.batch import Batch, Features, Labels, Ragged
from polytask.errors import ConfigError, message, nearest
from polytask.tasks import Task


class RaggedColumn(NamedTuple):
    """A multi-valued column of n rows, laid flat: row i owns `ids[offsets[i]:offsets[i + 1]]`.

    Args:
        ids: int32 [v], category of each value.
        offsets: int64 [n + 1]; the first is 0, the last is v.
        weights: float32 [v], or None where the column has none.
    """

    ids: np.ndarray
    offsets: np.ndarray
    weights: np.ndarray | None = None

    def take(self, index: Int[np.ndarray, " r"]) -> "RaggedColumn":
        """The rows at `index`, in that order."""
        starts = self.offsets.take(index)
        lengths = self.offsets.take(index + 1) - starts
        offsets = np.zeros(len(index) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        # Position of every value: it counts on from the start of its row, so a row's shift is its start less its new offset.
        values = np.repeat(starts - offsets[:-1], lengths)
        values += np.arange(len(values))
        return RaggedColumn(self.ids.take(values), offsets, None if self.weights is None else self.weights.take(values))

    @classmethod
    def joined(cls, parts: Sequence["RaggedColumn"]) -> "RaggedColumn":
        """The rows of several columns, one after the other."""
        lengths = np.concatenate([np.diff(offsets) for _, offsets, _ in parts])
        offsets = np.zeros(len(lengths) + 1, np.int64)
        np.cumsum(lengths, out=offsets[1:])
        weights = [weight for _, _, weight in parts if weight is not None]
        return cls(np.concatenate([ids for ids, _, _ in parts]), offsets, np.concatenate(weights) if weights else None)


class Columns(NamedTuple):
    """n encoded rows.

    Args:
        categorical: int32 [n, c], category of each single-valued field, local to its field.
        numeric: float32 [n, m], scaled; NaN is a missing value.
        ragged: Multi-valued fields by name, each (ids, offsets, weights or None).
        labels: float32 [n] by task name (`Task.encode`); NaN is missing. The sample space of `given` is not yet applied.
        weight: float32 [n], or None where all rows weigh the same.
        group: int64 [n], a number for the group of each row, or None where none was declared.

    Example:
        >>> columns = Columns(np.zeros((3, 1), np.int32), np.ones((3, 2), np.float32), {}, {})
        >>> columns.take(np.array([2, 0])).num_rows
        2
    """

    categorical: np.ndarray
    numeric: np.ndarray
    ragged: dict[str, RaggedColumn]
    labels: dict[str, np.ndarray]
    weight: np.ndarray | None = None
    group: np.ndarray | None = None

    @property
    def num_rows(self) -> int:
        """Number of rows n."""
        return int(self.categorical.shape[0])

    def take(self, index: Int[np.ndarray, " r"]) -> "Columns":
        """The rows at `index`, in that order. A copy."""
        return Columns(
            self.categorical.take(index, axis=0),
            self.numeric.take(index, axis=0),
            {name: RaggedColumn(*column).take(index) for name, column in self.ragged.items()},
            {name: label.take(index) for name, label in self.labels.items()},
            None if self.weight is None else self.weight.take(index),
            None if self.group is None else self.group.take(index),
        )

    def to_batch(self, tasks: Sequence[Task], device: torch.device | str = "cpu", *, pin: bool = False) -> Batch:
        """The rows as tensors, without a copy where NumPy and torch can share memory.

        A label counts as observed where it is not missing and the row is in the task's sample space: every task in its chain
        of `given` has label 1 there. Tasks that these columns hold no label of are left out.

        Args:
            tasks: Tasks whose labels are wanted.
            device: Where the tensors shall be.
            pin: Whether tensors go to page-locked memory first, from where a GPU copies without the host waiting.

        Raises:
            ConfigError: If `given` names no task of `tasks`.
        """
        ragged = {name: _ragged(*column) for name, column in self.ragged.items()}
        features = Features(_tensor(self.categorical), _tensor(self.numeric), ragged)
        batch = Batch(features, self._labels(tasks), None if self.group is None else _tensor(self.group))
        if pin:
            batch = _pinned(batch)
        return batch if torch.device(device).type == "cpu" else batch.to(device)

    def _labels(self, tasks: Sequence[Task]) -> dict[str, Labels]:
        present = [task.name for task in tasks if task.name in self.labels]
        if not present:
            return {}
        value = np.stack([self.labels[name] for name in present])
        observed = value == value  # noqa: PLR0124 - NaN differs from itself; a third of the time of isnan and its negation
        np.copyto(value, 0.0, where=~observed)
        spaces = _sample_spaces(tasks, dict(zip(present, value, strict=True)), dict(zip(present, observed, strict=True)))
        for position, name in enumerate(present):
            if name in spaces:
                observed[position] &= spaces[name]
        counts = np.count_nonzero(observed, axis=1).tolist()
        weight = None if self.weight is None else _tensor(self.weight)
        rows = zip(present, torch.from_numpy(value), torch.from_numpy(observed), counts, strict=True)
        return {name: Labels(values, mask, count, weight) for name, values, mask, count in rows}


def concatenate(parts: Sequence[Columns]) -> Columns:
    """Rows of several pieces of one table, one after the other.

    Example:
        >>> piece = Columns(np.zeros((3, 1), np.int32), np.ones((3, 2), np.float32), {}, {})
        >>> concatenate([piece, piece]).num_rows
        6
    """
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    return Columns(
        np.concatenate([part.categorical for part in parts]),
        np.concatenate([part.numeric for part in parts]),
        {name: RaggedColumn.joined([part.ragged[name] for part in parts]) for name in first.ragged},
        {name: np.concatenate([part.labels[name] for part in parts]) for name in first.labels},
        None if first.weight is None else np.concatenate([part.weight for part in parts if part.weight is not None]),
        None if first.group is None else np.concatenate([part.group for part in parts if part.group is not None]),
    )


def _sample_spaces(
    tasks: Sequence[Task], value: dict[str, Float[np.ndarray, " n"]], labelled: dict[str, Bool[np.ndarray, " n"]]
) -> dict[str, Bool[np.ndarray, " n"]]:
    """Rows on which each task with a `given` exists: those where all tasks of its chain are labelled 1."""
    by_name = {task.name: task for task in tasks}
    num_rows = len(next(iter(value.values())))
    spaces: dict[str, np.ndarray] = {}

    def space(task: Task, chain: tuple[str, ...]) -> np.ndarray | None:
        if task.given is None:
            return None
        if task.name in spaces:
            return spaces[task.name]
        if task.given not in by_name:
            expected = f"Task {task.name!r} is given a task that must be among the tasks."
            raise ConfigError(message(expected, received=repr(task.given), way_out=nearest(task.given, by_name)))
        if task.given in chain:
            raise ConfigError(message("The `given` of tasks must not form a circle.", received=" -> ".join((*chain, task.given))))
        rows = np.zeros(num_rows, bool)
        if task.given in value:
            # A missing label was set to 0 in `value`, so it is not 1: the row is outside the space.
            rows = labelled[task.given] & (value[task.given] == 1.0)
        outer = space(by_name[task.given], (*chain, task.given))
        spaces[task.name] = rows if outer is None else rows & outer
        return spaces[task.name]

    for task in tasks:
        space(task, (task.name,))
    return spaces


def _tensor(array: np.ndarray) -> Tensor:
    # torch refuses to share memory that must not be written (Arrow buffers).
    return torch.from_numpy(array if array.flags.writeable else array.copy())


def _ragged(ids: np.ndarray, offsets: np.ndarray, weights: np.ndarray | None) -> Ragged:
    return Ragged(_tensor(ids), _tensor(offsets), None if weights is None else _tensor(weights))


def _pinned(batch: Batch) -> Batch:
    def pin(tensor: Tensor | None) -> Tensor | None:
        return None if tensor is None else tensor.pin_memory()

    features = batch.features
    ragged = {
        name: Ragged(part.ids.pin_memory(), part.offsets.pin_memory(), pin(part.weights))
        for name, part in features.ragged.items()
    }
    labels = {
        name: Labels(value.pin_memory(), observed.pin_memory(), count, pin(weight))
        for name, (value, observed, count, weight) in batch.labels.items()
    }
    return Batch(Features(features.categorical.pin_memory(), features.numeric.pin_memory(), ragged), labels, pin(batch.group))
