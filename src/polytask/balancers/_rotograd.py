"""A rotation of the shared representation for each task, so that the tasks' gradients point one way."""

from collections.abc import Iterable, Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.balancers._comparing import ComparingBalancer
from polytask.balancers._cut import Cut, accumulator, cut, only, weighted_sum
from polytask.balancers._given import check_not_negative
from polytask.balancers._state import PerTaskState
from polytask.errors import ConfigError, PolytaskError, message
from polytask.sharing import Shared

_PREFIX = "task_"  # keeps a task called "keys" or "train" from hiding a method of nn.ParameterDict


@final
class RotoGrad(ComparingBalancer):
    """Every task reads the shared representation through a rotation of its own, learned so that gradients there agree.

    `z_k = R_k z`; `R_k` minimises `mean_n |R_k v_n - g~_kn|²`, `g~_k = ∂L_k/∂z_k`, v the mean of the gradients `R_kᵀ g~_k` at one
    length; sent back: `Σ_k C g_k / |g_k|` with `C = Σ_k a_k |g_k|`, `a_k ∝ |g_k| / |g_k at the start|`

    It is a part of the model, not only of its training: heads are right for rotated representations alone. So it works in a
    loop of your own, where `rotate` stands between sharing and heads, in training and in serving; a declared run refuses it.

    Prefer it where tasks conflict in direction and the sharing is one trunk. Not for mixtures, where each task has a
    representation of its own already, nor for wide representations: `width` is squared.

    Cost: one pass through the heads, one rotation of every task's representation, and k solutions of `width` equations a step.

    Source: Javaloy & Valera 2022, "RotoGrad: Gradient Homogenization in Multitask Learning", section 4 (checked against the
    official code; the text was not at hand).
    Differs: rotations are Cayley's `(I + A)^-1 (I - A)` of a skew A, where the official code takes the exponential: both reach
    all rotations near the identity, and this one can be had without waiting for the device. The start that lengths are compared
    with is each task's gradient after `burn_in` of its own steps, and its first before.

    Args:
        tasks: Names of the k tasks.
        width: How many of the representation's features are rotated, the first ones; at most its width.
        burn_in: Steps of a task after which its gradient's length is taken for its start.

    Raises:
        ConfigError: If `width` is below 1 or `burn_in` is negative.

    Example:
        >>> from polytask.sharing import SharedBottom
        >>> balancer = RotoGrad(["click", "buy"], width=4)
        >>> sharing, head = SharedBottom(3, ["click", "buy"], hidden=(4,)), torch.nn.Linear(4, 2)
        >>> shared = balancer.rotate(sharing(torch.ones(5, 3)))
        >>> losses = {name: head(z)[:, row].square().mean() for row, (name, z) in enumerate(zip(balancer.tasks, shared.outputs))}
        >>> balance = balancer.backward(losses, junction=shared)
        >>> balancer.rotation("buy").shape
        torch.Size([4, 4])
    """

    changes_model = True

    def __init__(self, tasks: Sequence[str], *, width: int, burn_in: int = 20) -> None:
        super().__init__(tasks)
        if width < 1:
            raise ConfigError(message("`width` is the number of rotated features, at least 1.", received=width))
        check_not_negative(burn_in=burn_in)
        self.width, self.burn_in = width, burn_in
        self.generators = nn.ParameterDict({_PREFIX + name: nn.Parameter(torch.zeros(width, width)) for name in self.tasks})
        self.start, self.steps = PerTaskState(self.tasks), PerTaskState(self.tasks)
        self._rotated: Tensor | None = None

    def rotation(self, task: str) -> Float[Tensor, "w w"]:
        """The rotation of one task."""
        return self._rotations([task])[0]

    def rotate(self, shared: Shared) -> Shared:
        """Every task's representation, rotated; the task's loss does not train the rotation.

        Args:
            shared: What a sharing gave, in which all tasks read one representation.

        Raises:
            PolytaskError: If tasks read representations of their own, or these are narrower than `width`.
        """
        z = shared.outputs
        if len(z) > 1 and z.stride(0):
            way_out = "Take a sharing in which all tasks read one representation, such as SharedBottom."
            raise PolytaskError(message("RotoGrad rotates one representation.", received="one a task", way_out=way_out))
        if z.dim() != 3 or z.shape[-1] < self.width:
            received = f"outputs of shape {tuple(z.shape)}"
            raise PolytaskError(message(f"Representations need {self.width} features or more.", received=received))
        rotations = self._rotations(self.tasks).detach().to(z.dtype)
        turned = torch.matmul(z[..., : self.width], rotations.mT)
        rotated = torch.cat([turned, z[..., self.width :]], -1)
        self._rotated = rotated if rotated.requires_grad else None
        return shared._replace(outputs=rotated, mixtures=())

    def parts(
        self,
        losses: Mapping[str, Tensor],
        shared: Iterable[nn.Parameter],  # noqa: ARG002 - the rotated representation is the place
        junction: Shared | Sequence[Tensor],
    ) -> Cut:
        """The cut at the rotated representation.

        Raises:
            PolytaskError: If `junction` is not what `rotate` gave last.
        """
        return cut(losses, self._checked(junction), (), self.tasks)

    def balance(self, parts: Cut, penalty: Tensor | None) -> tuple[Float[Tensor, " m"], None]:
        """Sends on gradients of one length, and gives the rotations theirs."""
        gradients = parts.rows()[0] if len(parts.edges) == 1 else None
        if gradients is None:
            received = f"{len(parts.edges)} places at which tasks part"
            raise PolytaskError(message("All losses read one rotated representation.", received=received))
        weights = self._homogenise(gradients, parts.losses, parts.names)
        finite = weights > 0
        self._turn(only(gradients, finite), parts.names)
        parts.send([weighted_sum(weights, only(gradients, finite))], penalty)
        return weights, None

    def _checked(self, junction: Shared | Sequence[Tensor]) -> Shared:
        given, self._rotated = self._rotated, None
        if isinstance(junction, Shared) and given is not None and junction.outputs is given:
            return junction
        way_out = "shared = balancer.rotate(sharing(x)); heads read shared.outputs; balancer.backward(losses, junction=shared)"
        raise PolytaskError(message("`junction` must be what `rotate` gave.", received=type(junction).__name__, way_out=way_out))

    @torch.no_grad()
    def _homogenise(self, g: Float[Tensor, "m n h"], losses: Float[Tensor, " m"], names: tuple[str, ...]) -> Tensor:
        """What each task's gradient is multiplied by; 0 where it is zero or not finite."""
        lengths = torch.linalg.vector_norm(g.flatten(1), dim=1, dtype=accumulator(g))
        finite = lengths.isfinite() & losses.isfinite() & (lengths > 0)
        lengths = torch.where(finite, lengths, 0.0)
        steps, start = self.steps.at(names), self.start.at(names)
        taken = finite & ((start == 0) | (steps == self.burn_in))
        start = torch.where(taken, lengths.to(start.dtype), start)
        self.start.put(names, start)
        self.steps.put(names, steps + finite)
        ratios = lengths / torch.where(start > 0, start, 1.0)
        length = (ratios * lengths).sum() / torch.where(ratios.sum() > 0, ratios.sum(), 1.0)
        return torch.where(finite, length / torch.where(finite, lengths, 1.0), 0.0)

    def _turn(self, g: Float[Tensor, "m n h"], names: tuple[str, ...]) -> None:
        """Adds to the rotations' `.grad`; g are the gradients before the rotations, so those behind are `R_k g_k`."""
        g = g.detach()[..., : self.width].float() if g.dtype != torch.float64 else g.detach()[..., : self.width]
        present = g.flatten(1).norm(dim=1)
        count = (present > 0).sum().clamp_min(1)
        mean = (g.sum(0) / count).norm()
        scale = torch.where(present > 0, mean / torch.where(present > 0, present, 1.0), 0.0)
        target = weighted_sum(scale, g) / count
        with torch.enable_grad():
            rotations = self._rotations(names).to(g.dtype)
            behind = torch.matmul(g, rotations.detach().mT)
            # |R v - g~|² without the squares, which no rotation changes: their rounding would turn a task whose g~ is zero.
            misfit = -2 * (torch.matmul(target, rotations.mT) * behind).sum(-1).mean(1)
            misfit.sum().backward()  # type: ignore[no-untyped-call]

    def _rotations(self, names: Sequence[str]) -> Float[Tensor, "m w w"]:
        raw = torch.stack([self.generators[_PREFIX + name] for name in names])
        skew, eye = raw - raw.mT, torch.eye(self.width, dtype=raw.dtype, device=raw.device)
        rotations: Tensor = torch.linalg.solve_ex(eye + skew, eye - skew).result
        return rotations
