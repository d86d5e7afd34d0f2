"""Random projections of the last shared layer's gradients."""

from typing import final

import torch
from torch import Tensor

from polytask.balancers._cut import Cut
from polytask.balancers._products import Product
from polytask.balancers._state import Count
from polytask.balancers.measures._base import Measure, Measured
from polytask.balancers.measures._layers import measure_layers
from polytask.errors import ConfigError, message
from polytask.precision import has_bf16


@final
class Sketched(Measure):
    """The last shared layer's gradients, its inputs projected to a few random directions.

    `G_ij ≈ <δ_iᵀ a S, δ_jᵀ a S>` with `S` of independent signs over `sqrt(rank)`: unbiased, `E[S Sᵀ] = I`

    The projection `a S` is made once for all tasks, and what each task adds costs `rank` columns instead of the layer's width.

    Prefer it over `AtLastLayer` wherever that costs too much: nearly the same Gramian at a fraction. Not for layers whose input
    is narrower than the rank; those are measured as they are.

    Cost: one pass through the heads, k products of `rank` columns.

    Source: Johnson & Lindenstrauss 1984; signs as in Achlioptas 2003, "Database-friendly random projections", theorem 1.1.

    Args:
        rank: Number of random directions.
        fixed: Whether the directions stay; else they are drawn anew for each measurement, so that their errors average out.
            What is remembered from step to step must see the same directions.

    Raises:
        ConfigError: If `rank` is below 1.

    Example:
        >>> Sketched(rank=16).rank
        16
    """

    def __init__(self, *, rank: int = 32, fixed: bool = False) -> None:
        super().__init__()
        if rank < 1:
            raise ConfigError(message("A sketch has a rank of at least 1.", received=rank))
        self.rank, self.fixed = rank, fixed
        self.count = Count()

    def forward(self, cut: Cut) -> Measured:
        """Measures the sketched last layer."""
        generator = torch.Generator().manual_seed(0 if self.fixed else self.count.next())
        return measure_layers(cut, lambda product: sketched(product, self.rank, generator))


def sketched(product: Product, rank: int, generator: torch.Generator) -> Tensor:
    """A layer's rows in independent random directions; rows no wider than that are given as they are.

    Args:
        product: The layer.
        rank: Number of directions.
        generator: Draws the signs.
    """
    rows, over = product.rows, -1 if product.convolution is None else 1
    width = rows.shape[over]
    if width <= rank or (product.convolution is not None and product.convolution["groups"] > 1):
        return rows
    directions = random_signs(width, rank, generator).to(rows.device, rows.dtype)
    if over == 1:
        return torch.einsum("nc...,cr->nr...", rows, directions)
    return fast(rows) @ fast(directions)


def fast_dtype(like: Tensor) -> torch.dtype:
    """bfloat16 for float32 where the device multiplies it natively: its rounding is a thirtieth of the noise of signs."""
    return torch.bfloat16 if like.dtype == torch.float32 and has_bf16(like.device) else like.dtype


def fast(rows: Tensor) -> Tensor:
    """Rows in the type of the fastest product."""
    return rows.to(fast_dtype(rows))


def random_signs(width: int, rank: int, generator: torch.Generator) -> Tensor:
    """Independent signs over `sqrt(rank)`, `width rank`: `E[S Sᵀ] = I`.

    They are drawn on the host: all devices and all ranks of a group have the same.
    """
    signs = torch.randint(0, 2, (width, rank), generator=generator, dtype=torch.int8).mul_(2).sub_(1)
    return signs.float().div_(rank**0.5)
