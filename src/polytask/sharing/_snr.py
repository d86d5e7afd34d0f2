"""Sub-networks in levels, with learned connections between them."""

import math
from collections.abc import Iterable, Sequence
from typing import cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import linear

from polytask.errors import ConfigError, message, nearest
from polytask.sharing._base import PerTask, Shared, Sharing
from polytask.sharing._mlps import MLPs

ROUTES = ("transform", "average")

_TEMPERATURE, _LOW, _HIGH = 0.9, -0.1, 1.1
"""β, γ and ζ of the hard concrete distribution; the SNR paper draws them from [0.5, 0.9], [-1, -0.1] and [1.1, 2]."""


@final
class SNR(Sharing):
    """Sub-network routing: shared layers cut into parallel sub-networks, and a gate on every connection that may close for good.

    `v_i = Σ_j z_ij W_ij u_j` ("transform", SNR-Trans) or `v_i = Σ_j z_ij u_j` ("average", SNR-Aver): what sub-network i of the
    next level, or task i after the last, reads of the sub-networks below. Gates belong to the model, not to rows. In training one
    draw a step, `z = clamp(s(ζ - γ) + γ, 0, 1)`, `s = sigmoid((logit(u) + log α) / β)`, `u ~ U(0, 1)`; in evaluation
    `z = clamp(sigmoid(log α)(ζ - γ) + γ, 0, 1)`. Training adds `strength · Σ P(z ≠ 0)`, with `P(z ≠ 0) =
    sigmoid(log α - β log(-γ/ζ))`.

    Prefer it where a small model is served and it is not known which tasks belong together: closed connections need not be
    computed, and what stays open is the same for every row. Not where rows differ in what they need (`MMoE`), nor for short runs:
    gates are drawn at random until they have settled.

    Cost: the sub-networks; "transform" adds one product a level and task, with h² weights a connection.

    Source: Ma et al., AAAI 2019, section 3; gates of Louizos et al., ICLR 2018, equations 10 to 13. The paper tries strengths of
    1e-3 to 1e-5: connections close from 1e-4.

    Differs: gates start half open, as in the code of Louizos et al. (the paper does not say). `fix_after` ends the noise, which
    the paper does not.

    Args:
        in_features: Width d of the representation that comes in.
        tasks: Names of the k tasks.
        num_subnetworks: Number of sub-networks in each level.
        levels: Widths of the layers of a sub-network, for each level.
        route: "transform" or "average".
        strength: Strength of the penalty on open connections.
        fix_after: Steps after which gates are neither drawn nor penalised but those of evaluation, so that weights settle on what
            is served; 0: never.
        activation: Name in `ACTIVATIONS`.
        dropout: Share of units dropped after each layer in training.

    Raises:
        ConfigError: If a size, `route`, `strength`, `fix_after`, `activation` or `dropout` is not valid.

    Example:
        >>> snr = SNR(5, ["click", "buy"], num_subnetworks=3, levels=[(16,), (8,)])
        >>> snr(torch.zeros(4, 5)).outputs.shape, [gate.shape for gate in snr.connections()]
        (torch.Size([2, 4, 8]), [torch.Size([3, 3]), torch.Size([2, 3])])
    """

    steps: Tensor

    def __init__(
        self,
        in_features: int,
        tasks: Sequence[str],
        *,
        num_subnetworks: int = 4,
        levels: Sequence[Sequence[int]] = ((128,), (128,)),
        route: str = "transform",
        strength: float = 1e-4,
        fix_after: int = 0,
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(in_features, tasks)
        _check(levels, route, strength, fix_after)
        self.strength, self.fix_after = strength, fix_after
        inputs = [in_features, *(hidden[-1] for hidden in levels[:-1])]
        self.levels = nn.ModuleList(
            MLPs(num_subnetworks, width, hidden, activation=activation, dropout=dropout)
            for width, hidden in zip(inputs, levels, strict=True)
        )
        transform = route == "transform"
        self.routes = nn.ModuleList(_Route(num_subnetworks, num_subnetworks, width, transform) for width in inputs[1:])
        self.out_features = levels[-1][-1]
        self.task_routes = PerTask({task: _Route(1, num_subnetworks, self.out_features, transform) for task in self.tasks})
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, x: Float[Tensor, "n d"]) -> Shared:
        """Gives each task what its connections let through of the last level."""
        u: Tensor = self.levels[0](x)
        logs = self._log_alphas()
        gates = [self._gates(log_alpha) for log_alpha in logs]
        for level, route, z in zip(self.levels[1:], self.routes, gates, strict=False):
            u = level(_routed(u, z, cast("_Route", route).weight))
        weights = [cast("_Route", route).weight for route in self.task_routes.values()]
        weight = None if weights[0] is None else torch.cat(cast("list[Tensor]", weights))
        return Shared(_routed(u, gates[-1], weight), (u,), penalty=self._penalty(logs) if self.training else None)

    def connections(self) -> list[Float[Tensor, "to from"]]:
        """Gates of evaluation: for each level but the first, of its sub-networks on those below; last, of the tasks."""
        return [evaluation_gates(log_alpha).detach() for log_alpha in self._log_alphas()]

    @torch.no_grad()
    def after_step(self, lr: float) -> None:  # noqa: ARG002 - a count has no rate
        """Counts the steps: gates are fixed after `fix_after` of them."""
        self.steps += 1

    def penalised_parameters(self) -> Iterable[nn.Parameter]:
        """The gates' parameters."""
        routes = cast("list[_Route]", [*self.routes, *self.task_routes.values()])
        return [route.log_alpha for route in routes]

    def _log_alphas(self) -> list[Float[Tensor, "to from"]]:
        tasks = torch.cat([cast("_Route", route).log_alpha for route in self.task_routes.values()])
        found = [*(cast("_Route", route).log_alpha for route in self.routes), tasks]
        return [log_alpha.to(torch.promote_types(log_alpha.dtype, torch.float32)) for log_alpha in found]

    def _gates(self, log_alpha: Float[Tensor, "to from"]) -> Float[Tensor, "to from"]:
        served = evaluation_gates(log_alpha)
        if not self.training:
            return served
        drawn = training_gates(log_alpha, torch.rand_like(log_alpha))
        return torch.where(self.steps >= self.fix_after, served.detach(), drawn) if self.fix_after else drawn

    def _penalty(self, logs: Sequence[Tensor]) -> Float[Tensor, ""]:
        expected = torch.stack([open_probability(log_alpha).sum() for log_alpha in logs]).sum()
        return self.strength * (expected * (self.steps < self.fix_after) if self.fix_after else expected)


def training_gates(log_alpha: Tensor, uniform: Tensor) -> Tensor:
    """Hard concrete gates of a uniform draw.

    Example:
        >>> training_gates(torch.zeros(3), torch.tensor([0.05, 0.5, 0.95]))
        tensor([0.0000, 0.5000, 1.0000])
    """
    return _stretched((uniform.logit(1e-6) + log_alpha) / _TEMPERATURE)


def evaluation_gates(log_alpha: Tensor) -> Tensor:
    """The gates that are served: no noise, no temperature.

    Example:
        >>> evaluation_gates(torch.tensor([-3.0, 0.0, 3.0]))
        tensor([0.0000, 0.5000, 1.0000])
    """
    return _stretched(log_alpha)


def open_probability(log_alpha: Tensor) -> Tensor:
    """Probability that a gate of training is not 0.

    Example:
        >>> open_probability(torch.tensor([-3.0, 0.0]))
        tensor([0.3011, 0.8964])
    """
    return torch.sigmoid(log_alpha - _TEMPERATURE * math.log(-_LOW / _HIGH))


def _stretched(logit: Tensor) -> Tensor:
    return (logit.sigmoid() * (_HIGH - _LOW) + _LOW).clamp(0, 1)


def _routed(u: Float[Tensor, "m n h"], z: Float[Tensor, "to m"], weight: Tensor | None) -> Float[Tensor, "to n h"]:
    z = z.to(u.dtype)
    if weight is None:
        return torch.einsum("om,mnh->onh", z, u)
    opened = (z[:, None, :, None] * weight).flatten(2).flatten(0, 1)  # (to h) (m h): all connections are one product
    return torch.unflatten(linear(u.transpose(0, 1).flatten(1), opened), 1, (len(z), -1)).transpose(0, 1)


class _Route(nn.Module):
    """Gates, and weights where there are, of some connections: to `num_to` places, from `num_from` sub-networks of width h."""

    def __init__(self, num_to: int, num_from: int, width: int, transform: bool) -> None:
        super().__init__()
        self.log_alpha = nn.Parameter(0.01 * torch.randn(num_to, num_from))
        self.weight: nn.Parameter | None = None
        if transform:
            bound = math.sqrt(3 / width)  # Glorot for each connection on its own
            self.weight = nn.Parameter(torch.empty(num_to, width, num_from, width).uniform_(-bound, bound))


def _check(levels: Sequence[Sequence[int]], route: str, strength: float, fix_after: int) -> None:
    if not levels or not all(levels):
        raise ConfigError(message("An SNR needs widths for each level.", received=levels, way_out="Such as [[256], [128]]."))
    if route not in ROUTES:
        raise ConfigError(message("Unknown route between sub-networks.", received=repr(route), way_out=nearest(route, ROUTES)))
    if not strength >= 0:
        raise ConfigError(message("The strength of a penalty is not negative.", received=f"strength={strength}"))
    if fix_after < 0:
        raise ConfigError(message("Gates are fixed after some steps, or never.", received=f"fix_after={fix_after}", way_out="0."))
