"""Gradients of all layers at once, as if what arrives at the last arrived at each."""

import functools
import math
from collections.abc import Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor
from torch import distributed as dist

from polytask.balancers._cut import Cut
from polytask.balancers._graph import Node
from polytask.balancers._products import Product, deltas, last_products, products_below
from polytask.balancers._state import Count
from polytask.balancers.measures._base import Measure, Measured
from polytask.balancers.measures._layers import measure_layers
from polytask.balancers.measures._sketched import fast, fast_dtype, random_signs, sketched
from polytask.errors import ConfigError, message

_LOOK = 16  # measurements from one look at sizes and directions to the next: both drift over epochs, and a look is a pass
_LEADING = 8  # directions of each layer's rows that are kept as they are: more leave too few columns for the rest


@final
class AtAllLayers(Measure):
    """Gradients of all layers of the last layer's stream, sketched, with the gradient at the last layer in place of each one's.

    `G_ij ≈ <δ_iᵀ Z, δ_jᵀ Z>`, `Z = [c_1 a_1 Q_1, ..., c_L a_L Q_L, Σ_l c_l a_l (1 - Q_l Q_lᵀ) S_l]`, `c_l = |δ_l| / |δ|`: inputs
    `a_l` of each layer, signs `S_l`, the gradient δ at the last layer's output, and for each layer a few leading directions `Q_l`
    of its inputs, which hold most of them (after a rectifier their mean alone does) and so are spared the noise of signs. In
    every 16th measurement the sizes `|δ_l|` are looked at by a pass of the tasks' sum, the directions by a step of the power
    method.

    Whether two rows train a layer alike is said by the products of their inputs and of their gradients there. The first are those
    of each layer; the second are taken from the last one, where all tasks' are known, and brought to each layer's size.

    Prefer it over `Sketched` where early layers have a large part of the gradient, as they have in MLPs after some epochs: it
    costs a few products of `rank` columns more. Where nothing but the last layer can be seen (convolutions, attention) it is
    `Sketched`. Not as an estimate of lengths: it is biased, also on average over sketches.

    Cost: one pass through the heads, k products of `rank` columns, one product of `rank` columns a layer.

    Source: none is followed; that gradients of a layer factorise into inputs and gradients row by row as in Goodfellow 2015,
    "Efficient Per-Example Gradient Computations".

    Args:
        rank: Number of columns of Z; at most half of them are leading directions.
        fixed: Whether the directions stay; else signs are drawn anew for each measurement. What is remembered from step to step
            must see the same directions.

    Raises:
        ConfigError: If `rank` is below 1.

    Example:
        >>> AtAllLayers(rank=16).rank
        16
    """

    sizes: Tensor
    """`c_l` of each layer below the last, in the order in which the graph shows them."""

    leading: Tensor
    """`Q_l` of the last layers and of each layer below, one after the other in one flat tensor."""

    def __init__(self, *, rank: int = 64, fixed: bool = False) -> None:
        super().__init__()
        if rank < 1:
            raise ConfigError(message("A sketch has a rank of at least 1.", received=rank))
        self.rank, self.fixed = rank, fixed
        self.count = Count()
        self.register_buffer("sizes", torch.ones(0))
        self.register_buffer("leading", torch.ones(0))

    def forward(self, cut: Cut) -> Measured:
        """Measures all layers that can be seen."""
        number = self.count.next()
        generator = torch.Generator().manual_seed(0 if self.fixed else number)
        last = list({p.edge.node: p for edge in cut.compared_edges for p in last_products(edge)}.values())
        streams = {product.edge.node: products_below(product) for product in last}
        below = list({layer.edge.node: layer for layers in streams.values() for layer in layers}.values())
        every = [product for product in last if streams[product.edge.node]] + below
        deepest = 1 + max((len(layers) for layers in streams.values()), default=0)
        shapes = [_shape(product, min(_LEADING, self.rank // (2 * deepest))) for product in every]
        if below and (number % _LOOK == 0 or len(self.sizes) != len(below) or len(self.leading) != _numbers(shapes)):
            self._look_at_sizes(cut, last, below)
            self._look_for_directions(every, shapes)
        sizes = dict(zip((layer.edge.node for layer in below), self.sizes.unbind() if below else (), strict=True))
        parts = torch.split(self.leading, [math.prod(shape) for shape in shapes]) if every else ()
        directions = {p.edge.node: part.view(shape) for p, part, shape in zip(every, parts, shapes, strict=True)}
        made: dict[Node, Tensor] = {}

        def rows(product: Product) -> Tensor:
            layers = streams[product.edge.node]
            if not layers:
                return sketched(product, self.rank, generator)
            rest = max(self.rank - sum(directions[layer.edge.node].shape[-1] for layer in (product, *layers)), 1)
            for layer in (product, *layers):
                node = layer.edge.node
                if node not in made:
                    made[node] = _in_directions(layer, directions[node], sizes.get(node), _signs(layer, rest, generator))
            parts = [_as_rows(made[layer.edge.node], product) for layer in (product, *layers)]
            total = functools.reduce(torch.Tensor.add, (part[..., -rest:] for part in parts))
            return torch.cat([*(part[..., :-rest] for part in parts), total], -1)

        return measure_layers(cut, rows)

    @torch.no_grad()
    def _look_at_sizes(self, cut: Cut, last: Sequence[Product], below: Sequence[Product]) -> None:
        total = cut.weighted(torch.ones(len(cut.names), device=below[0].rows.device))
        arrived = deltas(cut.edges, total, [*last, *below])
        squares = [below[0].rows.new_zeros(()) if delta is None else delta.float().square().sum() for delta in arrived]
        sums = over_ranks(torch.stack(squares))
        found = (sums[len(last) :] / sums[: len(last)].sum()).sqrt()
        kept = self.sizes if len(self.sizes) == len(found) else torch.ones_like(found)
        self.sizes = torch.where(found.isfinite(), found, kept)  # a task without a finite gradient spoils the sum

    @torch.no_grad()
    def _look_for_directions(self, every: Sequence[Product], shapes: Sequence[tuple[int, ...]]) -> None:
        """One step of the power method on each layer's rows; the first look takes two."""
        known = len(self.leading) == _numbers(shapes)
        if known and self.fixed:
            return
        signs = torch.Generator().manual_seed(1)
        before = self.leading if known else torch.randn(_numbers(shapes), generator=signs).to(every[0].rows.device)
        found = []
        for product, part, shape in zip(every, torch.split(before, list(map(math.prod, shapes))), shapes, strict=True):
            rows, directions = product.rows.float(), part.view(shape)
            for _ in range(1 if known else 2):
                directions = _orthonormal(over_ranks(rows.mT @ (rows @ directions)))
            found.append(directions.flatten())
        self.leading = torch.cat(found)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        for name in ("sizes", "leading"):
            if f"{prefix}{name}" in state_dict:  # as many as the graph showed
                setattr(self, name, torch.empty_like(state_dict[f"{prefix}{name}"], device=getattr(self, name).device))
        super()._load_from_state_dict(state_dict, prefix, *args)


def over_ranks(sums: Tensor) -> Tensor:
    """The sum over the ranks of a group, which must agree on what they measure; as it is where there is none."""
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(sums)
    return sums


def _numbers(shapes: Sequence[tuple[int, ...]]) -> int:
    return sum(math.prod(shape) for shape in shapes)


def _shape(product: Product, leading: int) -> tuple[int, ...]:
    """Of the directions of a layer: `w q`, or `e w q` where several layers are stacked."""
    *stacked, _, width = product.rows.shape[-3:] if _is_stacked(product) else (0, product.rows.shape[-1])
    return (*stacked, width, min(leading, width))


def _is_stacked(product: Product) -> bool:
    return product.rows.dim() == 3 and product.edge.node.name() != "LinearBackward0"


def _signs(product: Product, rank: int, generator: torch.Generator) -> Tensor:
    return random_signs(product.rows.shape[-1], rank, generator).to(product.rows.device)


def _in_directions(
    product: Product, directions: Float[Tensor, "*e w q"], size: Tensor | None, signs: Float[Tensor, "w r"]
) -> Float[Tensor, "*e n _"]:
    """A layer's rows in its leading directions, and a sketch of what they leave: one product."""
    rows = product.rows if _is_stacked(product) else product.rows.flatten(0, -2)
    rest = signs - directions @ (directions.mT @ signs)
    every = torch.cat([directions, rest], -1) if size is None else torch.cat([directions, rest], -1) * size
    return fast(rows) @ every.to(fast_dtype(rows))


def _as_rows(part: Tensor, product: Product) -> Tensor:
    """What a lower layer gives, one for each of the stacked layers that read it."""
    if not _is_stacked(product):
        return part.reshape(*product.rows.shape[:-1], -1)
    shape = product.rows.shape[:-1]
    return part.expand(*shape, -1) if part.dim() == 2 or len(part) == 1 else part.reshape(*shape, -1)


def _orthonormal(columns: Float[Tensor, "*e w q"]) -> Float[Tensor, "*e w q"]:
    """Gram and Schmidt's, each column twice; 0 where a column has no part of its own. On devices that know no QR too."""
    found = torch.zeros_like(columns)
    for number in range(columns.shape[-1]):
        column = columns[..., number : number + 1]
        size = column.norm(dim=-2, keepdim=True)
        for _ in range(2):
            column = column - found @ (found.mT @ column)
        rest = column.norm(dim=-2, keepdim=True)
        found[..., number : number + 1] = torch.where(rest > 1e-5 * size, column / rest, 0.0)
    return found
