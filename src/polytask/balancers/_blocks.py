"""Gradients of several tasks, parameter by parameter: a matrix each, a row a task."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor


@final
class Blocks:
    """Gradients of the same parameters by several tasks.

    A sparse gradient (touched rows of an embedding table) takes as many numbers as it touches: all tasks of a batch touch the
    same rows. A parameter that a task does not reach is zero in its row; one that no task reaches has no block.

    Args:
        num: Number of tasks.
        parameters: What gradients are of; None where that is nowhere asked for.
    """

    def __init__(self, num: int, parameters: Sequence[Tensor | None]) -> None:
        self.num, self.parameters = num, list(parameters)
        self._values: list[Tensor | None] = [None] * len(self.parameters)
        self._like: list[Tensor | None] = [None] * len(self.parameters)

    def put(self, row: int, gradients: Sequence[Tensor | None]) -> None:
        """Writes one task's row; rows come one after the other from the first on."""
        for place, gradient in enumerate(gradients):
            values = self._values[place]
            if gradient is None:
                if values is not None:
                    values[row] = 0.0
                continue
            like = gradient.coalesce() if gradient.is_sparse else gradient
            numbers = like._values() if like.is_sparse else like
            if values is None:
                values = self._values[place] = numbers.new_empty((self.num, numbers.numel()))
                values[:row] = 0.0
                self._like[place] = like
            values[row] = numbers.reshape(-1)

    @property
    def values(self) -> list[Tensor]:
        """The matrix `m f` of each parameter that a task reached."""
        return [values for values in self._values if values is not None]

    @property
    def places(self) -> tuple[int, ...]:
        """Which parameters these are, by their place in the order given."""
        return tuple(place for place, values in enumerate(self._values) if values is not None)

    def back(self, rows: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
        """Parameters with gradients whose numbers are those of one row a block."""
        reached = [(p, like) for p, like in zip(self.parameters, self._like, strict=True) if p is not None and like is not None]
        return [(parameter, _shaped(row, like)) for (parameter, like), row in zip(reached, rows, strict=True)]


def _shaped(row: Tensor, like: Tensor) -> Tensor:
    if not like.is_sparse:
        return row.reshape(like.shape)
    values = row.reshape(like._values().shape)
    return torch.sparse_coo_tensor(like._indices(), values, like.shape, is_coalesced=True, check_invariants=False)
