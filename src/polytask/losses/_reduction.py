"""The one reduction: a weighted mean over observed rows, out of which nothing of the other rows leaks."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polytask.batch import Labels


def mean_over_observed(per_row: Float[Tensor, " n"], labels: Labels) -> Float[Tensor, ""]:
    """Mean over observed rows: `sum_i w_i l_i / sum_i w_i`, with `w_i = 1` where rows have no weight.

    Rows that are not observed, and rows of weight zero, add nothing to the value and get a gradient of exactly zero, whatever
    stands in them. No row that counts gives 0. Nothing waits for the device: that all rows are observed is known on the host.

    A row whose loss is infinite *because of its output* also needs its output hidden (`hide_unobserved`): a zero gradient times
    an infinite derivative is not a number.

    Example:
        >>> nan = float("nan")
        >>> mean_over_observed(torch.tensor([1.0, 2.0, nan]), Labels.of(torch.tensor([0.0, 1.0, nan])))
        tensor(1.5000)

    Args:
        per_row: Loss of each row.
        labels: Which rows count, and how much.
    """
    if labels.weight is None:
        if labels.count == per_row.shape[0]:
            return per_row.mean() if labels.count else per_row.sum()
        return torch.where(labels.observed, per_row, 0.0).sum() / max(labels.count, 1)
    counts = _counting(labels)
    weight = torch.where(counts, labels.weight, 0.0).to(per_row.dtype)
    total = weight.sum()
    weighted = (weight * torch.where(counts, per_row, 0.0)).sum()
    return weighted / torch.where(total > 0, total, 1.0)


def hide_unobserved(output: Float[Tensor, "n o"], labels: Labels) -> Float[Tensor, "n o"]:
    """The output in at least float32, with zeros in the rows that do not count, so that no derivative there is infinite.

    Example:
        >>> hide_unobserved(torch.tensor([[1.0], [float("inf")]]), Labels.of(torch.tensor([0.0, float("nan")])))
        tensor([[1.],
                [0.]])

    Args:
        output: Output of a task's head, in any floating type.
        labels: Which rows count.
    """
    if output.dtype in {torch.float16, torch.bfloat16}:
        output = output.float()
    if labels.weight is None and labels.count == output.shape[0]:
        return output
    return torch.where(_counting(labels).unsqueeze(1), output, 0.0)


def _counting(labels: Labels) -> Bool[Tensor, " n"]:
    return labels.observed if labels.weight is None else labels.observed & (labels.weight > 0)
