"""Normalisation of all tasks' activations at once, with scale and shift of each task's own."""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from polytask.errors import ConfigError, message, nearest

NORMS = ("none", "layer", "batch")

_EPSILON = 1e-5
_MOMENTUM = 0.1
"""Both as in torch's own norms."""


@final
class TaskNorm(nn.Module):
    """One task's part of a normalisation: scale and shift, and with "batch" the running mean and variance.

    Args:
        width: Units that it normalises.
        kind: "none", "layer" (over the units of a row) or "batch" (of a unit, over the rows; running values in evaluation).

    Raises:
        ConfigError: If the kind is unknown.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, width: int, kind: str) -> None:
        super().__init__()
        if kind not in NORMS:
            raise ConfigError(message("Unknown norm.", received=repr(kind), way_out=nearest(kind, NORMS)))
        self.kind = kind
        if kind != "none":
            self.scale = nn.Parameter(torch.ones(width))
            self.shift = nn.Parameter(torch.zeros(width))
        if kind == "batch":
            self.register_buffer("mean", torch.zeros(width))
            self.register_buffer("variance", torch.ones(width))


def normalised(norms: Sequence[TaskNorm], x: Float[Tensor, "k n h"]) -> Float[Tensor, "k n h"]:
    """Each task's activations, normalised, at least in float32, and scaled; with "batch" in training, running values move."""
    if norms[0].kind == "none":
        return x
    wide = x.to(torch.promote_types(x.dtype, torch.float32))
    if norms[0].kind == "layer":
        wide = layer_norm(wide, wide.shape[-1:], eps=_EPSILON)
    else:
        mean, variance = _moments(norms, wide)
        wide = (wide - mean.unsqueeze(1)) * (variance + _EPSILON).rsqrt().unsqueeze(1)
    scale = torch.stack([norm.scale for norm in norms]).unsqueeze(1)
    shift = torch.stack([norm.shift for norm in norms]).unsqueeze(1)
    return torch.addcmul(shift.to(wide.dtype), wide, scale.to(wide.dtype)).to(x.dtype)


def _moments(norms: Sequence[TaskNorm], x: Float[Tensor, "k n h"]) -> tuple[Tensor, Tensor]:
    means, variances = [norm.mean for norm in norms], [norm.variance for norm in norms]
    if not norms[0].training:
        return torch.stack(means), torch.stack(variances)
    variance, mean = torch.var_mean(x, dim=1, correction=0)
    num_rows = x.shape[1]
    unbiased = variance.detach() * (num_rows / max(num_rows - 1, 1))
    with torch.no_grad():
        for running, found in zip((*means, *variances), (*mean.detach(), *unbiased), strict=True):
            running.mul_(1 - _MOMENTUM).add_(found.to(running.dtype), alpha=_MOMENTUM)
    return mean, variance
