"""One layer of every task's tower in one product."""

from collections.abc import Iterable
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.sharing._mlps import MLPs, StackedLayer, compute_stacked, together


def layer(towers: Iterable[nn.Module], x: Float[Tensor, "*k n d"]) -> Float[Tensor, "k n h"]:
    """Output of k equal `MLPs` of one layer on the input of all, or on an input of its own each; nothing is copied.

    `side_by_side` would part what belongs together, and choose another way for many rows: here the next step reads all of it.
    """
    towers = cast("list[MLPs]", list(towers))
    if watched(towers):
        return together(towers, x)
    return compute_stacked(x, [_joined(towers)])


def layer_rows_last(towers: Iterable[nn.Module], x: Float[Tensor, "*k d n"]) -> Float[Tensor, "k h n"]:
    """As `layer`, with rows last in and out: a unit's values lie together, as a stitch with a weight for each unit reads them.

    8 towers of 128 on 128 with such a stitch, 1024 rows, forward and backward on one thread: 18.7 ms, against 28.3 rows first and
    17.7 without stitch.
    """
    towers = cast("list[MLPs]", list(towers))
    if watched(towers):
        return together(towers, x.mT).mT
    weight, bias, then = _joined(towers)
    if x.dim() == 3:
        own: Tensor = then(torch.bmm(weight, x) if bias is None else torch.baddbmm(bias.unsqueeze(2), weight, x))
        return own
    joined = weight.flatten(0, 1)
    flat: Tensor = then(joined @ x if bias is None else torch.addmm(bias.flatten().unsqueeze(1), joined, x))
    return flat.view(*weight.shape[:2], -1)


def watched(modules: Iterable[nn.Module]) -> bool:
    """Whether a hook looks at an activation: it must see its own task alone. Not asked in training, where it would cost."""
    if torch.is_grad_enabled():
        return False
    return any(part._forward_hooks for module in modules for part in module.modules())


def _joined(towers: list[MLPs]) -> StackedLayer:
    steps = [step for tower in towers for step in tower.steps()]
    biases = [step.bias for step in steps if step.bias is not None]
    return StackedLayer(torch.cat([step.weight for step in steps]), torch.cat(biases) if biases else None, steps[0].then)
