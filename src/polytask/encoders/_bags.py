"""How the values of a multi-valued field become one vector a row."""

from typing import Final, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from polytask.batch import Ragged

POOLINGS: Final = ("mean", "sum", "max")


class Bags(NamedTuple):
    """A multi-valued field in the terms of a weighted lookup.

    Args:
        owners: Bag of each value, counted from 0.
        ends: Where each bag ends among the values.
        weights: What each value's row is multiplied by.
    """

    owners: Int[Tensor, " v"]
    ends: Int[Tensor, " b"]
    weights: Float[Tensor, " v"]


def as_bags(column: Ragged, pooling: str) -> Bags:
    """The sum or mean of a row's values is one bag a row; for the maximum each value is a bag, reduced later."""
    values = column.ids.numel()
    weights = torch.ones(values, device=column.ids.device) if column.weights is None else column.weights
    if pooling == "max":
        positions = torch.arange(values + 1, device=column.ids.device)
        return Bags(positions[:-1], positions[1:], weights)
    owners = torch.repeat_interleave(column.offsets.diff(), output_size=values)
    if pooling == "mean":
        total = weights.new_zeros(column.offsets.numel() - 1).index_add_(0, owners, weights.abs())
        weights = weights / total.clamp_min(torch.finfo(weights.dtype).tiny).index_select(0, owners)
    return Bags(owners, column.offsets[1:], weights)


def pooled(looked_up: Float[Tensor, "b d"], column: Ragged, pooling: str) -> Float[Tensor, "n d"]:
    """One vector a row; zeros where it has no value."""
    if pooling != "max":
        return looked_up
    lengths = column.offsets.diff()
    highest = torch.segment_reduce(looked_up, "max", lengths=lengths, axis=0, initial=float("-inf"))
    return torch.where((lengths > 0).unsqueeze(1), highest, 0.0)
