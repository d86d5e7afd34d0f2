"""Soft sharing: a tower a task, tied by a penalty on their layers."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.errors import ConfigError, message, nearest
from polytask.sharing._base import PerTask, Shared, Sharing
from polytask.sharing._mlps import MLPs, together

_TRACE_NORM: Final = "trace_norm"
PENALTIES: Final = ("l2_mean", "l2_pairs", _TRACE_NORM)


@final
class SoftSharing(Sharing):
    """A tower for each task; corresponding parameters of the towers are pulled together, not shared.

    `z_k = f_k(x)`, losses plus `strength · R(θ_1, ..., θ_K)`:

    - `l2_mean`: `Σ_k ||θ_k - mean(θ)||²`; `l2_pairs`: `Σ_k<l ||θ_k - θ_l||²`, which is K times as much. Not squared: norms.
    - `trace_norm`: `Σ_layers ||W_(K)||_*`, the sum of the singular values of a layer's parameters, one row a task: towers
      become mixtures of few common ones.

    Prefer it where tasks are near each other but not the same, and each has the labels for a tower: it runs from `SingleTask`
    (strength 0) to `SharedBottom` (towers equal). L2 for tasks that are all alike; the trace norm where some are alike or
    opposed. Not for many tasks (k towers), nor where a task has hardly any labels.

    Cost: k MLPs. The L2 forms read the parameters once a step; the trace norm decomposes a k x p matrix a layer and step.

    Source: L2-Constrained of Ma et al., KDD 2018, section 3.3, after Duong et al., ACL 2015; trace norm: Yang and Hospedales,
    "Trace Norm Regularised Deep Multi-Task Learning", 2016 (last axis flattening, and all axes).

    Differs: squares by default (the MMoE paper prints the norm). `proximal` takes the penalty out of the gradient and applies its
    proximal operator at the optimizer's rate after each step, which is stable at any strength and gives exact rank, where the
    sub-gradient only comes near it; with `all_modes`, one flattening after the other. A proximal step moves towers of tasks that
    had no label in the batch, too. Weight decay: the trace norm already holds parameters down and exempts them; a distance does
    not hold their common part down, so decay stays.

    Args:
        in_features: Width d of the representation that comes in.
        tasks: Names of the k tasks.
        hidden: Width of each layer of a tower.
        penalty: "l2_mean", "l2_pairs" or "trace_norm".
        strength: Factor of the penalty. A trace norm adds up singular values, not squares: think of 0.1 to 10.
        squared: Whether distances are squared.
        all_modes: Sums the trace norms of all flattenings of a layer: fewer directions within the towers, too.
        proximal: Applies the penalty after each step instead of adding its gradient.
        own_encoders: Whether each task has an encoder of its own (`x` is then `k n d`); they are not tied.
        same_start: Whether all towers start equal: at a great strength the mean of unlike towers is a weak start.
        activation: Name in `ACTIVATIONS`.
        dropout: Share of units dropped after each layer in training.

    Raises:
        ConfigError: If a size, `activation` or `dropout` is not valid, `penalty` is unknown, `strength` is negative, or
            `squared`, `all_modes` or `proximal` does not go with the penalty.

    Example:
        >>> soft = SoftSharing(5, ["click", "buy"], hidden=(16,), penalty="trace_norm", strength=0.5)
        >>> soft(torch.zeros(3, 5)).outputs.shape
        torch.Size([2, 3, 16])
    """

    def __init__(
        self,
        in_features: int,
        tasks: Sequence[str],
        *,
        hidden: Sequence[int] = (128,),
        penalty: str = "l2_mean",
        strength: float = 1e-2,
        squared: bool = True,
        all_modes: bool = False,
        proximal: bool = False,
        own_encoders: bool = False,
        same_start: bool = False,
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(in_features, tasks)
        _check(penalty, strength, squared=squared, all_modes=all_modes, proximal=proximal)
        self.penalty, self.strength = penalty, strength
        self.squared, self.all_modes, self.proximal = squared, all_modes, proximal
        self.own_encoders, self.same_start = own_encoders, same_start
        self.num_inputs = len(self.tasks) if own_encoders else 1
        self.out_features = 0
        self._take(lambda: MLPs(1, in_features, hidden, activation=activation, dropout=dropout), tuple(hidden)[-1:])

    @classmethod
    def around(
        cls, tasks: Sequence[str], make: Callable[[], nn.Module], *, in_features: int, out_features: int, **options: Any
    ) -> "SoftSharing":
        """Ties towers of the user's own: any module, called with rows (`n ...`) of any shape.

        Args:
            tasks: Names of the k tasks.
            make: Makes one task's tower; all must have the same parameters by order and shape, each of which is tied.
            in_features: Width of what comes in, or channels of a feature map.
            out_features: Width of what a tower gives.
            options: Options of the class, without those of its MLPs.

        Example:
            >>> convolve = lambda: nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten())
            >>> soft = SoftSharing.around(["depth", "edges"], convolve, in_features=3, out_features=36)
            >>> soft(torch.zeros(2, 3, 5, 5)).outputs.shape
            torch.Size([2, 2, 36])
        """
        soft = cls(in_features, tasks, hidden=(1,), **options)
        soft._take(make, (out_features,))
        return soft

    def _take(self, make: Callable[[], nn.Module], width: Sequence[int]) -> None:
        towers = [make() for _ in self.tasks]
        for tower in towers[1:] if self.same_start else ():
            tower.load_state_dict(towers[0].state_dict())
        self.bottoms = PerTask(dict(zip(self.tasks, towers, strict=True)))  # as SingleTask calls them: its state fits
        self.out_features = sum(width)
        self._are_mlps = isinstance(towers[0], MLPs)

    def forward(self, x: Float[Tensor, "*i n d"]) -> Shared:
        """Gives each task the output of its tower, and in training the penalty."""
        entry = x if self.own_encoders else x.view_as(x)
        if self._are_mlps:
            outputs = together(self.bottoms.values(), entry)
        else:
            inputs = entry.unbind(0) if self.num_inputs > 1 else [entry] * len(self.tasks)
            outputs = torch.stack([tower(one) for tower, one in zip(self.bottoms.values(), inputs, strict=True)])
        penalty = self.strength * self.distance() if self.training and self.strength and not self.proximal else None
        return Shared(outputs, () if self.own_encoders else (entry,), penalty=penalty)

    def distance(self) -> Float[Tensor, ""]:
        """The penalty at strength 1: how far apart the towers are, or the trace norm of their layers."""
        stacks = self._stacks()
        with torch.autocast(stacks[0].device.type, enabled=False):
            if self.penalty == _TRACE_NORM:
                return torch.stack([torch.linalg.svdvals(flat).sum() for flat in self._flattenings(stacks)]).sum()
            apart = torch.cat([(stack - stack.mean(0)).flatten(1) for stack in stacks], dim=1)
            if self.squared:
                return self._mean_forms() * apart.square().sum()
            return _norms_of_pairs(apart) if self.penalty == "l2_pairs" else torch.linalg.vector_norm(apart, dim=1).sum()

    @torch.no_grad()
    def singular_values(self) -> dict[str, Float[Tensor, " r"]]:
        """Singular values of each tied parameter with one row a task, by its name in a tower: of how many the towers are made."""
        names = [name for name, _ in next(iter(self.bottoms.values())).named_parameters()]
        values = [torch.linalg.svdvals(stack.flatten(1)) for stack in self._stacks()]
        return dict(zip(names, values, strict=True))

    @torch.no_grad()
    def after_step(self, lr: float) -> None:
        """Applies the penalty's proximal operator where that is asked for."""
        amount = lr * self.strength if self.proximal else 0.0
        if not amount:
            return
        for stack, parameters in zip(self._stacks(), self._columns(), strict=True):
            if self.penalty == _TRACE_NORM:
                new = _thresholded(stack, amount, all_modes=self.all_modes)
            else:
                new = torch.lerp(stack.mean(0), stack, 1 / (1 + 2 * amount * self._mean_forms()))
            for parameter, value in zip(parameters, new, strict=True):
                parameter.copy_(value.reshape(parameter.shape))

    def penalised_parameters(self) -> Iterable[nn.Parameter]:
        """The towers under a trace norm; none under a distance, which leaves their common part alone."""
        return self.bottoms.parameters() if self.penalty == _TRACE_NORM and self.strength else ()

    def _mean_forms(self) -> int:
        """How many times the squared distance to the mean the squared distance is."""
        return len(self.tasks) if self.penalty == "l2_pairs" else 1

    def _columns(self) -> list[tuple[Tensor, ...]]:
        return list(zip(*(tower.parameters() for tower in self.bottoms.values()), strict=True))

    def _stacks(self) -> list[Float[Tensor, "k *shape"]]:
        """Each tied parameter with one row a task, in at least float32; a bias or a single MLP's weight without its axis of 1."""
        stacks = [torch.stack(column) for column in self._columns()]
        stacks = [stack.reshape(len(stack), *([size for size in stack.shape[1:] if size > 1] or [1])) for stack in stacks]
        return [stack.to(torch.promote_types(stack.dtype, torch.float32)) for stack in stacks]

    def _flattenings(self, stacks: Sequence[Tensor]) -> list[Float[Tensor, "a b"]]:
        return [stack.movedim(mode, 0).flatten(1) for stack in stacks for mode in _modes(stack, all_modes=self.all_modes)]


def _modes(stack: Tensor, *, all_modes: bool) -> range:
    """Axes to flatten along; a matrix (stacked biases) has the same singular values along both."""
    return range(stack.dim() if all_modes and stack.dim() > 2 else 1)


def _norms_of_pairs(apart: Float[Tensor, "k p"]) -> Float[Tensor, ""]:
    """Sum of the distances of all pairs of rows, from inner products: no k² x p differences are laid down.

    Rows are deviations from their mean, so the difference of large equal numbers is not taken. Its slope at distance 0 is 0.
    """
    products = apart @ apart.mT
    squares = products.diagonal() + products.diagonal().unsqueeze(1) - 2 * products
    squares = squares.triu(1)
    positive = squares > 0
    return torch.where(positive, torch.where(positive, squares, 1.0).sqrt(), 0.0).sum()


def _thresholded(stack: Tensor, amount: float, *, all_modes: bool) -> Tensor:
    """Singular values less `amount`, at least 0. A later flattening cannot raise the rank of an earlier one."""
    for mode in _modes(stack, all_modes=all_modes):
        moved = stack.movedim(mode, 0)
        left, values, right = torch.linalg.svd(moved.flatten(1), full_matrices=False)
        stack = (left * (values - amount).clamp_min(0) @ right).reshape(moved.shape).movedim(0, mode)
    return stack


def _check(penalty: str, strength: float, *, squared: bool, all_modes: bool, proximal: bool) -> None:
    if penalty not in PENALTIES:
        raise ConfigError(message("Unknown penalty.", received=repr(penalty), way_out=nearest(penalty, PENALTIES)))
    if not 0 <= strength < float("inf"):
        raise ConfigError(message("The strength of a penalty is at least 0.", received=strength))
    if penalty == _TRACE_NORM and not squared:
        raise ConfigError(message("A trace norm has no squared form to turn off.", received="squared=False"))
    if penalty != _TRACE_NORM and all_modes:
        way_out = 'Set penalty="trace_norm".'
        raise ConfigError(message("Only a trace norm has modes.", received=f"all_modes with {penalty!r}", way_out=way_out))
    if proximal and not squared:
        way_out = "Square the distances, or take the gradient."
        raise ConfigError(
            message("Distances that are not squared have no proximal step here.", received="proximal", way_out=way_out)
        )
