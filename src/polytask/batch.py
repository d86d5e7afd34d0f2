"""What one step sees: the inputs of n rows and the labels of k tasks on them."""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Ragged(NamedTuple):
    """A multi-valued column of n rows, laid flat: row i owns `ids[offsets[i]:offsets[i + 1]]`.

    Args:
        ids: Category of each value, local to its field.
        offsets: n + 1 positions in `ids`; the first is 0, the last the number of values.
        weights: One weight a value, or None where the column has none.
    """

    ids: Int[Tensor, " v"]
    offsets: Int[Tensor, " n_plus_1"]
    weights: Float[Tensor, " v"] | None = None


class Features(NamedTuple):
    """The inputs of n rows, encoded.

    Args:
        categorical: Category of each of c single-valued fields, local to its field (each field counts from 0).
        numeric: m numeric fields on their fitted robust scale; NaN is a missing value.
        ragged: Multi-valued fields by name.
    """

    categorical: Int[Tensor, "n c"]
    numeric: Float[Tensor, "n m"]
    ragged: dict[str, Ragged] = {}  # noqa: RUF012 - never mutated; NamedTuple fields cannot have a factory

    @property
    def num_rows(self) -> int:
        """Number of rows n."""
        return self.categorical.shape[0]


class Labels(NamedTuple):
    """The labels of one task on n rows. A missing label is absent, never zero.

    Args:
        value: Label in the task's own encoding (`Task.encode`); finite everywhere, meaningful where observed.
        observed: True where the row is in the task's sample space and has a label.
        count: Number of observed rows, known on the host: a task without labels is skipped without waiting for the device.
        weight: Non-negative weight of each row, or None where all rows weigh the same.
    """

    value: Float[Tensor, " n"]
    observed: Bool[Tensor, " n"]
    count: int  # type: ignore[assignment]  # hides tuple.count, which nobody would look for here
    weight: Float[Tensor, " n"] | None = None

    @classmethod
    def of(cls, value: Float[Tensor, " n"], weight: Float[Tensor, " n"] | None = None) -> "Labels":
        """Labels from a tensor in which NaN means missing.

        Example:
            >>> Labels.of(torch.tensor([1.0, float("nan"), 0.0])).count
            2
        """
        observed = ~torch.isnan(value)
        return cls(torch.where(observed, value, 0.0), observed, int(observed.sum()), weight)


class Batch(NamedTuple):
    """One step's rows.

    Args:
        features: Inputs.
        labels: Labels by task name.
        group: Number of the group (list, session, user) of each row, for metrics of rankings; None where none was declared.
    """

    features: Features
    labels: Mapping[str, Labels]
    group: Int[Tensor, " n"] | None = None

    @property
    def num_rows(self) -> int:
        """Number of rows n."""
        return self.features.num_rows

    def to(self, device: torch.device | str) -> "Batch":
        """The same rows on another device; copies from pinned memory do not wait."""
        return _move(self, torch.device(device))  # type: ignore[no-any-return]


def _move(value: object, device: torch.device):  # type: ignore[no-untyped-def]  # noqa: ANN202 - returns what it was given
    if isinstance(value, Tensor):
        return value.to(device, non_blocking=True)
    if isinstance(value, dict):
        return {key: _move(item, device) for key, item in value.items()}
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*(_move(item, device) for item in value))
    return value
