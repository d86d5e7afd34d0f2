"""Cross networks side by side: experts that multiply features."""

import math
from collections.abc import Sequence
from typing import cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.sharing._mlps import MLPs


@final
class CrossNetworks(nn.Module):
    """`e` low-rank cross networks (DCN-v2), each followed by a dense layer.

    `x_{l+1} = x_0 ⊙ (U_l V_l x_l + b_l) + x_l`, then an activated dense layer to the last width: products of features of degree
    up to one more than there are layers, which an MLP can only approach.

    Source: Wang et al., "DCN V2", WWW 2021, equations 1 and 3.

    Args:
        num: Number e of networks.
        in_features: Width d of the input.
        widths: Rank of each cross layer, at most d; the last is also the width of the output.
        activation: Name in `ACTIVATIONS`, applied after the dense layer.
        dropout: Share of the output's units dropped in training.

    Raises:
        ConfigError: If a width is not positive, `dropout` is outside [0, 1) or the activation is unknown.

    Example:
        >>> CrossNetworks(2, 5, (3, 4))(torch.zeros(6, 5)).shape
        torch.Size([2, 6, 4])
    """

    def __init__(
        self, num: int, in_features: int, widths: Sequence[int], *, activation: str = "relu", dropout: float = 0.0
    ) -> None:
        super().__init__()
        self.dense = MLPs(num, in_features, tuple(widths)[-1:], activation=activation, dropout=dropout)
        self.num, self.out_features = num, self.dense.out_features
        self.layers = nn.ModuleList(_Cross(num, in_features, min(rank, in_features)) for rank in widths)

    def forward(self, x: Float[Tensor, "n d"]) -> Float[Tensor, "e n h"]:
        """Output of each network on the input of all."""
        first = x.expand(self.num, -1, -1)
        z: Tensor = first
        for layer in cast("list[_Cross]", list(self.layers)):
            z = first * torch.baddbmm(layer.bias.unsqueeze(1), torch.bmm(z, layer.down.mT), layer.up.mT) + z
        out: Tensor = self.dense(z)
        return out


class _Cross(nn.Module):
    def __init__(self, num: int, width: int, rank: int) -> None:
        super().__init__()
        bound = math.sqrt(6 / (width + rank))  # Glorot
        self.down = nn.Parameter(torch.empty(num, rank, width).uniform_(-bound, bound))
        self.up = nn.Parameter(torch.empty(num, width, rank).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(num, width))
