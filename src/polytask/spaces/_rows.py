"""Weighted means over rows of which only the device knows how many count."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polytask.batch import Labels


def mean_over(
    per_row: Float[Tensor, "*k n"], rows: Bool[Tensor, "*k n"], weight: Float[Tensor, "*m n"] | None = None
) -> Float[Tensor, "*k"]:
    """`Σ w l / Σ w` over some rows, 0 where there is none; nothing of the other rows leaks, and nothing waits for the device.

    Example:
        >>> mean_over(torch.tensor([1.0, 3.0, float("nan")]), torch.tensor([True, True, False]))
        tensor(2.)

    Args:
        per_row: Loss of each row.
        rows: Which rows count.
        weight: Weight of each row, or None where all weigh the same.
    """
    weights = rows.to(per_row.dtype) if weight is None else torch.where(rows, weight, 0.0).to(per_row.dtype)
    total = weights.sum(-1)
    return (torch.where(rows, per_row, 0.0) * weights).sum(-1) / torch.where(total > 0, total, 1.0)


def hidden(output: Float[Tensor, "n o"], rows: Bool[Tensor, " n"]) -> Float[Tensor, "n o"]:
    """The output in at least float32, with zeros outside of some rows, so that no derivative there is infinite."""
    output = output.float() if output.dtype in (torch.float16, torch.bfloat16) else output
    return torch.where(rows.unsqueeze(1), output, 0.0)


def times(labels: Labels, factor: Float[Tensor, " n"]) -> Labels:
    """The same labels, each row's weight times a factor."""
    return labels._replace(weight=factor if labels.weight is None else labels.weight * factor)


def some(rows: Bool[Tensor, " n"]) -> bool:
    """Whether there is a row. Of rows on a GPU nobody asks: there a batch without one has a loss of 0 in place of none."""
    return rows.device.type != "cpu" or bool(rows.any())
