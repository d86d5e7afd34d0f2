"""Deep relationship networks: a shared trunk, then layers of each task under a prior that learns how tasks relate."""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.errors import ConfigError, message
from polytask.sharing._base import PerTask, Shared, Sharing
from polytask.sharing._mlps import MLPs, together
from polytask.sharing._tensor_normal import TensorNormal

_TASK_MODE = 0


@final
class DeepRelationship(Sharing):
    """A shared trunk and layers of each task, whose weights share a tensor-normal prior: the prior learns which tasks relate.

    `z_k = f_k(trunk(x))`; for each layer of the f_k, with the k weights stacked to W of k x o x i (D numbers), losses plus

    `strength · [vec(W)' (S1 x S2 x S3)^-1 vec(W) / 2 + Σ_m (D / D_m) log|S_m| / 2]`,

    S1 between tasks, S2 between outputs, S3 between inputs; every `update_every` steps `S_m <- (D_m / D) W_(m) (x_{j != m}
    S_j)^-1 W_(m)'`, one after the other (flip-flop). As long as all S are the identity this is an ordinary L2 penalty.

    Prefer it where tasks relate unevenly, some alike, some opposed, some not at all, and you want to see it
    (`task_correlations`). Compare it with `floor=1.0`, the ordinary penalty: estimates strengthen what they find, and in a small
    trial that penalty did better. Not where rows should decide what is shared (a mixture), nor with very wide layers.

    Cost: a trunk, k MLPs, and in each step three small products a layer with the weights; a decomposition of each covariance
    every `update_every` steps.

    Source: Long et al., "Learning Multiple Tasks with Multilinear Relationship Networks", NeurIPS 2017 (as Deep Relationship
    Networks: Long and Wang, 2015).

    Differs: heads stay outside, so the prior is on hidden layers only. The scale of a Kronecker product's factors is not
    identified: each covariance is brought to the trace of an identity, and `strength` alone says how much the prior weighs (a
    mean variance of 1; the paper takes the rest of the scale from the weights). Biases have no prior. Towers start equal, as they
    do in the paper, which starts all from one trained network: units of towers that start apart do not correspond, and their
    correlation means nothing. Weight decay leaves the weights under the prior alone.

    Args:
        in_features: Width d of the representation that comes in.
        tasks: Names of the k tasks.
        trunk: Width of each shared layer; () puts the tasks' layers on the input.
        hidden: Width of each layer of a task.
        strength: Factor of the prior's penalty: at the start, of half the squared weights.
        update_every: Steps between two estimates of the covariances.
        floor: Share of the identity in each covariance: no direction is held down more than 1 / floor times as much as the mean.
        same_start: Whether the towers of all tasks start equal.
        activation: Name in `ACTIVATIONS`.
        dropout: Share of units dropped after each layer in training.

    Raises:
        ConfigError: If a size, `activation`, `dropout`, `strength`, `update_every` or `floor` is not valid.

    Example:
        >>> network = DeepRelationship(5, ["click", "buy"], trunk=(16,), hidden=(8,))
        >>> network(torch.zeros(3, 5)).outputs.shape
        torch.Size([2, 3, 8])
        >>> network.task_correlations()["click"]["buy"]
        0.0
    """

    def __init__(
        self,
        in_features: int,
        tasks: Sequence[str],
        *,
        trunk: Sequence[int] = (128,),
        hidden: Sequence[int] = (64,),
        strength: float = 1e-3,
        update_every: int = 100,
        floor: float = 0.1,
        same_start: bool = True,
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(in_features, tasks)
        _check(strength, update_every, floor)
        self.strength, self.update_every = strength, update_every
        self.trunk = MLPs(1, in_features, trunk, activation=activation, dropout=dropout) if trunk else None
        width = trunk[-1] if trunk else in_features
        towers = [MLPs(1, width, hidden, activation=activation, dropout=dropout) for _ in self.tasks]
        for tower in towers[1:] if same_start else ():
            tower.load_state_dict(towers[0].state_dict())
        self.towers = PerTask(dict(zip(self.tasks, towers, strict=True)))
        self.priors = nn.ModuleList(
            TensorNormal((len(self.tasks), out, size), floor=floor) for size, out in pairwise([width, *hidden])
        )
        self.out_features = towers[0].out_features
        # The covariance of tasks is kept in the order of their names: a state fits whatever the order of the tasks.
        self._sorted = tuple(sorted(self.tasks))
        # Steps are counted on the host, which decides by them; the buffer carries the count through a checkpoint.
        self._num_steps = 0
        self.register_buffer("num_steps", torch.zeros((), dtype=torch.int64))
        self.register_state_dict_pre_hook(_write_count)  # type: ignore[no-untyped-call]
        self.register_load_state_dict_post_hook(_read_count)  # type: ignore[no-untyped-call]

    def forward(self, x: Float[Tensor, "n d"]) -> Shared:
        """Gives each task the output of its own layers on the trunk's, and in training the prior's penalty."""
        z = x.view_as(x) if self.trunk is None else self.trunk(x).squeeze(0)
        outputs = together(self.towers.values(), z)
        return Shared(outputs, (z,), penalty=self.strength * self.prior() if self.training and self.strength else None)

    def prior(self) -> Float[Tensor, ""]:
        """Minus the log density of the tasks' weights, without its constant: the penalty at strength 1."""
        weights = self._weights()
        with torch.autocast(weights[0].device.type, enabled=False):
            return torch.stack([prior(weight) for prior, weight in zip(self.priors, weights, strict=True)]).sum()

    @torch.no_grad()
    def after_step(self, lr: float) -> None:  # noqa: ARG002 - estimates have no rate
        """Estimates the covariances from the weights, every `update_every` steps."""
        self._num_steps += 1
        if self._num_steps % self.update_every == 0:
            for prior, weight in zip(self.priors, self._weights(), strict=True):
                cast("TensorNormal", prior).update(weight)

    def penalised_parameters(self) -> Iterable[nn.Parameter]:
        """The tasks' weights, unless the prior has no strength."""
        layers = [layer for tower in self.towers.values() for layer in cast("MLPs", tower).steps()] if self.strength else []
        return [cast("nn.Parameter", layer.weight) for layer in layers]

    def task_correlations(self, layer: int = -1) -> dict[str, dict[str, float]]:
        """How the weights of the tasks relate in one of their layers: 1 alike, 0 unrelated, -1 opposed.

        It is 0 between all until the first estimate. Tasks that differ by their heads alone are alike here.

        Args:
            layer: Which of the tasks' layers.
        """
        if not -len(self.priors) <= layer < len(self.priors):
            raise ConfigError(message(f"The tasks have {len(self.priors)} layers of their own.", received=f"layer {layer}"))
        prior = cast("TensorNormal", self.priors[layer])
        covariance = prior.covariance(_TASK_MODE)
        # Without the floor: it keeps the prior soft, but would draw what is read here to 0.
        estimate = covariance - prior.floor * torch.eye(len(covariance), dtype=covariance.dtype, device=covariance.device)
        spread = estimate.diagonal().clamp_min(torch.finfo(estimate.dtype).eps).sqrt()
        correlation = (estimate / spread / spread.unsqueeze(1)).fill_diagonal_(1.0)
        rows = dict(zip(self._sorted, correlation.tolist(), strict=True))
        by_name = {name: dict(zip(self._sorted, row, strict=True)) for name, row in rows.items()}
        return {name: {other: by_name[name][other] for other in self.tasks} for name in self.tasks}

    def _weights(self) -> list[Float[Tensor, "k o i"]]:
        layers = zip(*(cast("MLPs", self.towers.of(name)).steps() for name in self._sorted), strict=True)
        return [torch.cat([layer.weight for layer in tasks]) for tasks in layers]


def _write_count(module: nn.Module, prefix: str, keep_vars: bool) -> None:  # noqa: ARG001 - torch's hook
    cast("DeepRelationship", module).get_buffer("num_steps").fill_(cast("DeepRelationship", module)._num_steps)


def _read_count(module: nn.Module, keys: Any) -> None:  # noqa: ARG001 - torch's hook
    cast("DeepRelationship", module)._num_steps = int(module.get_buffer("num_steps"))


def _check(strength: float, update_every: int, floor: float) -> None:
    if not 0 <= strength < float("inf"):
        raise ConfigError(message("The strength of a prior is at least 0.", received=strength))
    if update_every < 1:
        raise ConfigError(message("Covariances are estimated every 1 step or more.", received=f"update_every={update_every}"))
    if not 0 < floor <= 1:
        way_out = "1.0 keeps every covariance at the identity: an L2 penalty."
        raise ConfigError(message("The floor of covariances is in (0, 1].", received=floor, way_out=way_out))
