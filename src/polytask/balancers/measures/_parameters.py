"""Exact gradients of all shared parameters."""

from collections.abc import Sequence
from typing import final

import torch
from torch import Tensor

from polytask.balancers._blocks import Blocks
from polytask.balancers._cut import Cut, inner_products
from polytask.balancers._graph import input_of
from polytask.balancers.measures._base import Measure, Measured


@final
class AtParameters(Measure):
    """Gradients of every shared parameter, exact.

    `G_ij = <∂L_i/∂θ, ∂L_j/∂θ>` over all shared θ

    Prefer it to know the truth, for small trunks and few tasks, and where each task has rows of its own (then it costs no more
    than a plain step). Not for many tasks on one large trunk.

    Cost: one pass through the heads, k through the trunk, k times the shared parameters in memory.

    Source: the definition that every method of the family starts from.

    Example:
        >>> AtParameters()
        AtParameters()
    """

    def forward(self, cut: Cut) -> Measured:
        """Measures all shared parameters."""
        leaves = cut.shared()
        blocks = Blocks(len(cut.names), leaves)
        places = [input_of(edge) for edge in cut.edges]
        for number in range(len(cut.names)):
            given = [
                (place, gradient) for place, gradient in zip(places, cut.of_task(number), strict=True) if gradient is not None
            ]
            found: Sequence[Tensor | None] = [None] * len(leaves)
            if given and leaves:
                roots, gradients = zip(*given, strict=True)
                found = torch.autograd.grad(roots, leaves, gradients, retain_graph=True, allow_unused=True)
            blocks.put(number, found)
        return Measured(inner_products(blocks.values, cut.losses), blocks.values, blocks, blocks.places)
