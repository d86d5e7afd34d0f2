"""Experts of each task, which every task fuses by gates on top of what its own experts say."""

from collections.abc import Sequence
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.errors import ConfigError, message
from polytask.sharing._base import PerTask, Shared, Sharing
from polytask.sharing._gates import check_drop, gate_weights, mix
from polytask.sharing._levels import expert_owners, level_inputs
from polytask.sharing._mlps import MLPs, together
from polytask.sharing._named_rows import gate_over_all


@final
class AdaTT(Sharing):
    """Adaptive task-to-task fusion: each task adds to its own experts a gated mixture of the experts of all tasks.

    Level j, task k: `f_kj = softmax(W_kj f_k,j-1) · [E_1j; ...; E_Kj; E_sj] + v_kj · E_kj`, where `E_kj` are the task's experts,
    on `f_k,j-1`, and `f_0 = x`. v is learned; with one expert a task it is 1. Shared experts, where there are any, read a stream
    of their own that is fused likewise, at all levels but the last. Without them it is AdaTT-sp.

    Prefer it where tasks are many and some help only some others: every pair has a weight of its own, row by row, and what is a
    task's own always reaches it. Not for two tasks that agree (MMoE does as well for less), nor to keep a task's experts from the
    losses of others: here all losses train them (`PLE` and `STEM` do not).

    Cost: `k · num_task_experts + num_shared_experts` MLPs a level; gates of k times as many numbers, so the mixing grows with k².

    Source: Li et al., KDD 2023, both variants (AdaTT-sp is the one without shared experts); held against the authors' code.

    Differs: gates have no bias, as in this family throughout (public code adds one). A unit of one expert is added plainly also
    where others have several (public code learns a weight there). Only gates and residual weights of the last level are private:
    all else is reached by other tasks' losses. `Shared.gates` is how much a task takes of each expert, residual included:
    `(softmax + |v|) / (1 + Σ|v|)`.

    Args:
        in_features: Width d of the representation that comes in.
        tasks: Names of the k tasks.
        levels: Widths of the layers of an expert, for each level.
        num_task_experts: Experts of each task a level.
        num_shared_experts: Shared experts a level; 0 is AdaTT-sp.
        gate_hidden: Widths of hidden layers before a gate's softmax.
        expert_dropout: Probability of leaving an expert out of a row's mixture in training; the residual stays.
        activation: Name in `ACTIVATIONS`.
        dropout: Share of expert units dropped after each layer in training.

    Raises:
        ConfigError: If a size, `activation`, `dropout` or `expert_dropout` is not valid.

    Example:
        >>> adatt = AdaTT(5, ["click", "buy"], levels=[(16,), (8,)], num_task_experts=2, num_shared_experts=1)
        >>> adatt(torch.zeros(4, 5)).gates.shape
        torch.Size([2, 4, 5])
    """

    def __init__(
        self,
        in_features: int,
        tasks: Sequence[str],
        *,
        levels: Sequence[Sequence[int]] = ((128,), (128,)),
        num_task_experts: int = 1,
        num_shared_experts: int = 0,
        gate_hidden: Sequence[int] = (),
        expert_dropout: float = 0.0,
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(in_features, tasks)
        self.expert_dropout = check_drop(expert_dropout)
        if num_shared_experts < 0:
            raise ConfigError(message("An AdaTT has 0 shared experts or more.", received=num_shared_experts))
        sizes = _Sizes(num_task_experts, num_shared_experts, tuple(gate_hidden), activation, dropout)
        inputs = level_inputs(in_features, levels)
        last = len(levels) - 1
        self.levels = nn.ModuleList(
            _Level(width, self.tasks, hidden, sizes, last=place == last)
            for place, (width, hidden) in enumerate(zip(inputs, levels, strict=True))
        )
        self.out_features = levels[-1][-1]
        self.expert_owners = expert_owners(self.tasks, num_task_experts, num_shared_experts)

    def forward(self, x: Float[Tensor, "n d"]) -> Shared:
        """Gives each task what it fused at the last level."""
        drop = self.expert_dropout if self.training else 0.0
        streams = x
        for level in self.levels:
            fused = level(streams, drop)
            streams = fused.streams
        return Shared(streams, fused.junction, fused.taken)


class _Sizes(NamedTuple):
    num_own: int
    num_shared: int
    gate_hidden: tuple[int, ...]
    activation: str
    dropout: float


class _Fused(NamedTuple):
    """What a level hands on: a stream a unit, what its tasks' gates and residuals read, how much of each expert they take."""

    streams: Float[Tensor, "u n h"]
    junction: tuple[Tensor, ...]
    taken: Float[Tensor, "u n e"]


class _Level(nn.Module):
    """One level of u units: a task's each, and below the last level one more that is shared, if there are shared experts."""

    def __init__(self, width: int, tasks: Sequence[str], hidden: Sequence[int], sizes: _Sizes, *, last: bool) -> None:
        super().__init__()
        self.num_own, self.num_shared = sizes.num_own, sizes.num_shared

        def experts(num: int) -> MLPs:
            return MLPs(num, width, hidden, activation=sizes.activation, dropout=sizes.dropout)

        def gate() -> MLPs:
            return gate_over_all(width, tasks, *sizes[:2], hidden=sizes.gate_hidden, activation=sizes.activation)

        self.task_experts = PerTask({task: experts(self.num_own) for task in tasks}, private=False)
        self.shared_experts = experts(self.num_shared) if self.num_shared else None
        self.task_gates = PerTask({task: gate() for task in tasks}, private=last)
        self.task_residuals = _residuals(tasks, self.num_own, private=last)
        fuses_shared = bool(self.num_shared) and not last
        self.shared_gate = gate() if fuses_shared else None
        self.shared_residual = _Weights(self.num_shared) if fuses_shared and self.num_shared > 1 else None

    def forward(self, streams: Float[Tensor, "*u n d"], drop: float) -> _Fused:
        """Fuses for each unit the experts of all."""
        units = [*self.task_gates.values(), *([] if self.shared_gate is None else [self.shared_gate])]
        own = together(self.task_experts.values(), _first(streams, len(self.task_gates)))
        common = () if self.shared_experts is None else (self.shared_experts(streams if streams.dim() == 2 else streams[-1]),)
        read = _first(streams, len(units))
        entry = read.view_as(read)  # its own place in the graph: what comes back through the gates, without the experts
        gates = gate_weights(together(units, entry), drop)
        residual = self._residual(gates)
        weights = gates + residual
        fused = mix(weights[..., : len(own)], own)
        if common:
            fused = fused + mix(weights[..., len(own) :], common[0])
        taken = gates + residual.abs()
        return _Fused(fused, (own, *common, entry), taken / taken.sum(-1, keepdim=True))

    def _residual(self, like: Float[Tensor, "u n e"]) -> Float[Tensor, "u 1 e"]:
        """What each unit adds of its own experts, over the experts of all; 0 elsewhere."""
        tasks = _own_weights(self.task_residuals, len(self.task_gates), self.num_own, like)
        eye = torch.eye(len(tasks), dtype=like.dtype, device=like.device)
        weights = torch.einsum("kt,kj->kjt", tasks, eye).flatten(1)
        weights = nn.functional.pad(weights, (0, self.num_shared))
        if self.shared_gate is not None:
            shared = _own_weights(self.shared_residual, 1, self.num_shared, like)
            weights = torch.cat([weights, nn.functional.pad(shared, (weights.shape[1] - self.num_shared, 0))])
        return weights.unsqueeze(1)


def _first(streams: Float[Tensor, "*u n d"], num: int) -> Float[Tensor, "*v n d"]:
    """Streams of the first units; at the first level there is one for all."""
    return streams if streams.dim() == 2 else streams[:num]


@final
class _Weights(nn.Module):
    """How much of each of its own experts a unit adds: `U(±sqrt(1/e))` at the start, as published."""

    def __init__(self, num: int) -> None:
        super().__init__()
        bound = num**-0.5
        self.weight = nn.Parameter(nn.init.uniform_(torch.empty(num), -bound, bound))


def _residuals(tasks: Sequence[str], num_own: int, *, private: bool) -> PerTask | None:
    return PerTask({task: _Weights(num_own) for task in tasks}, private=private) if num_own > 1 else None


def _own_weights(held: nn.Module | None, num_units: int, num_own: int, like: Tensor) -> Float[Tensor, "u t"]:
    """The residual weights of u units; a single expert is added as it is."""
    if held is None:
        return like.new_ones(num_units, num_own)
    return torch.stack(list(held.parameters())).to(like.dtype)
