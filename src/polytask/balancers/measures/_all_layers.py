"""Gradients of all layers at once, as if what arrives at the last arrived at each."""

from collections.abc import Sequence
from typing import Any, final

import torch
from torch import Tensor
from torch import distributed as dist

from polytask.balancers._cut import Cut
from polytask.balancers._graph import Node
from polytask.balancers._products import Product, deltas, last_products, products_below
from polytask.balancers._state import Count
from polytask.balancers.measures._base import Measure, Measured
from polytask.balancers.measures._layers import measure_layers
from polytask.balancers.measures._sketched import sketched
from polytask.errors import ConfigError, message

_LOOK = 16  # measurements from one look at the sizes to the next: they drift over epochs, and a look passes through the trunk


@final
class AtAllLayers(Measure):
    """Gradients of all layers of the last layer's stream, sketched, with the gradient at the last layer in place of each one's.

    `G_ij ≈ <δ_iᵀ Z, δ_jᵀ Z>`, `Z = Σ_l c_l a_l S_l`, `c_l = |δ_l| / |δ|`: inputs `a_l` of each layer, signs `S_l`, the
    gradient δ at the last layer's output; the sizes `|δ_l|` are looked at by a pass of the tasks' sum in every 16th measurement.

    Whether two rows train a layer alike is said by the products of their inputs and of their gradients there. The first are those
    of each layer; the second are taken from the last one, where all tasks' are known, and brought to each layer's size.

    Prefer it over `Sketched` where early layers have a large part of the gradient, as they have in MLPs after some epochs: it
    costs a few products of `rank` columns more. Where nothing but the last layer can be seen (convolutions, attention) it is
    `Sketched`. Not as an estimate of lengths: it is biased, also on average over sketches.

    Cost: one pass through the heads, k products of `rank` columns, one product of `rank` columns a layer.

    Source: none is followed; that gradients of a layer factorise into inputs and gradients row by row as in Goodfellow 2015,
    "Efficient Per-Example Gradient Computations".

    Args:
        rank: Number of random directions.
        fixed: Whether the directions stay; else they are drawn anew for each measurement. What is remembered from step to step
            must see the same directions.

    Raises:
        ConfigError: If `rank` is below 1.

    Example:
        >>> AtAllLayers(rank=16).rank
        16
    """

    sizes: Tensor
    """`c_l` of each layer below the last, in the order in which the graph shows them."""

    def __init__(self, *, rank: int = 64, fixed: bool = False) -> None:
        super().__init__()
        if rank < 1:
            raise ConfigError(message("A sketch has a rank of at least 1.", received=rank))
        self.rank, self.fixed = rank, fixed
        self.count = Count()
        self.register_buffer("sizes", torch.ones(0))

    def forward(self, cut: Cut) -> Measured:
        """Measures all layers that can be seen."""
        number = self.count.next()
        generator = torch.Generator().manual_seed(0 if self.fixed else number)
        last = {product.edge.node: product for edge in cut.edges for product in last_products(edge)}
        streams = {node: products_below(product) for node, product in last.items()}
        below = list({layer.edge.node: layer for layers in streams.values() for layer in layers}.values())
        if below and (number % _LOOK == 0 or len(self.sizes) != len(below)):
            self._look(cut, list(last.values()), below)
        seen = dict(zip((layer.edge.node for layer in below), self.sizes.unbind() if below else (), strict=True))
        made: dict[Node, Tensor] = {}

        def rows(product: Product) -> Tensor:
            layers = streams[product.edge.node]
            own = sketched(product, self.rank, generator, always=bool(layers))
            for layer in layers:
                node = layer.edge.node
                if node not in made:
                    made[node] = sketched(layer, self.rank, generator, always=True) * seen[node].to(layer.rows.dtype)
                own = own + (made[node] if own.dim() == 3 and made[node].dim() == 2 else made[node].reshape(own.shape)).to(
                    own.dtype
                )
            return own

        return measure_layers(cut, rows)

    @torch.no_grad()
    def _look(self, cut: Cut, last: Sequence[Product], below: Sequence[Product]) -> None:
        total = cut.weighted(torch.ones(len(cut.names), device=below[0].rows.device))
        arrived = deltas(cut.edges, total, [*last, *below])
        squares = [below[0].rows.new_zeros(()) if delta is None else delta.float().square().sum() for delta in arrived]
        sums = torch.stack(squares)
        if dist.is_available() and dist.is_initialized():  # ranks must agree on it
            dist.all_reduce(sums)
        found = (sums[len(last) :] / sums[: len(last)].sum()).sqrt()
        kept = self.sizes if len(self.sizes) == len(found) else torch.ones_like(found)
        self.sizes = torch.where(found.isfinite(), found, kept)  # a task without a finite gradient spoils the sum

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        if f"{prefix}sizes" in state_dict:  # as many as the graph showed
            self.sizes = torch.empty_like(state_dict[f"{prefix}sizes"], device=self.sizes.device)
        super()._load_from_state_dict(state_dict, prefix, *args)
