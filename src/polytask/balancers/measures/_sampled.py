"""The last shared layer's gradients on some rows."""

from typing import final

import torch
from torch import Tensor

from polytask.balancers._cut import Cut
from polytask.balancers._products import Product
from polytask.balancers._state import Count
from polytask.balancers.measures._base import Measure, Measured
from polytask.balancers.measures._layers import measure_layers
from polytask.errors import ConfigError, message


@final
class Sampled(Measure):
    """Gradients of the last shared layer by every so-manieth row, from a start that moves step by step.

    Prefer it where rows are many and alike, such as pixels. Not for small batches: a part of the rows says as little of the whole
    as another batch does; `Sketched` is as cheap and reads all rows.

    Cost: one pass through the heads, the given share of what `AtLastLayer` costs.

    Source: subsampled Gramians are common practice; no paper is followed.

    Args:
        fraction: Share of the rows, in (0, 1].

    Raises:
        ConfigError: If `fraction` is not in (0, 1].

    Example:
        >>> Sampled(fraction=0.25).step
        4
    """

    def __init__(self, *, fraction: float = 0.125) -> None:
        super().__init__()
        if not 0 < fraction <= 1:
            raise ConfigError(message("A share of the rows lies in (0, 1].", received=fraction))
        self.step = max(1, round(1 / fraction))
        self.count = Count()

    def forward(self, cut: Cut) -> Measured:
        """Measures some rows of the last shared layer."""
        start = self.count.next() % self.step

        def some(x: Tensor, product: Product) -> Tensor:
            over = 0 if product.convolution is not None else x.dim() - 2
            return x.index_select(over, torch.arange(min(start, x.shape[over] - 1), x.shape[over], self.step, device=x.device))

        return measure_layers(cut, lambda product: some(product.rows, product), some)
