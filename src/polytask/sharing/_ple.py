"""Experts of all and experts of one's own, in levels."""

from collections.abc import Sequence
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.errors import ConfigError, message
from polytask.sharing._base import PerTask, Shared, Sharing
from polytask.sharing._gates import check_drop, gate_network, gate_weights, mix
from polytask.sharing._mlps import MLPs, side_by_side


@final
class PLE(Sharing):
    """Progressive layered extraction: each task mixes experts of its own with shared ones, level upon level.

    Level j, task k: `g_kj = w_kj(g_k,j-1) · [T_kj(g_k,j-1); S_j(g_s,j-1)]`; the shared stream mixes all experts of all tasks:
    `g_sj = w_sj(g_s,j-1) · [T_1j; ...; T_Kj; S_j]`; `g_0 = x`; w is a softmax. The last level has no shared gate. One level is
    CGC.

    Prefer it where tasks conflict or one has far fewer labels than another (seesaw): a task always keeps experts that no other
    task trains. Not for many tasks on a small budget: it grows with k; nor for tasks that agree, where MMoE is as good for less.

    Cost: `k · num_task_experts + num_shared_experts` MLPs a level; a gate a task and level.

    Source: Tang et al., RecSys 2020, equations 1 to 7.

    Differs: nothing in the formula (other public code leaves out the shared gate, or feeds shared experts a task's stream).
    `Shared.gates` are those of the last level over all its experts, tasks' in order, then shared; 0 where a task does not look.
    Only what no other task's loss reaches counts as private: experts and gates of the last level, task gates of the one before.

    Args:
        in_features: Width d of the representation that comes in.
        tasks: Names of the k tasks.
        levels: Widths of the layers of an expert, for each level.
        num_shared_experts: Shared experts a level.
        num_task_experts: Experts of each task a level.
        gate_hidden: Widths of hidden layers before a gate's softmax.
        expert_dropout: Probability of leaving an expert out of a row's mixture in training.
        activation: Name in `ACTIVATIONS`.
        dropout: Share of expert units dropped after each layer in training.

    Raises:
        ConfigError: If a size, `activation`, `dropout` or `expert_dropout` is not valid.

    Example:
        >>> ple = PLE(5, ["click", "buy"], levels=[(16,), (8,)], num_shared_experts=1, num_task_experts=2)
        >>> ple(torch.zeros(4, 5)).gates.shape
        torch.Size([2, 4, 5])
    """

    def __init__(
        self,
        in_features: int,
        tasks: Sequence[str],
        *,
        levels: Sequence[Sequence[int]] = ((128,), (128,)),
        num_shared_experts: int = 2,
        num_task_experts: int = 2,
        gate_hidden: Sequence[int] = (),
        expert_dropout: float = 0.0,
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(in_features, tasks)
        self.expert_dropout = check_drop(expert_dropout)
        self.num_task_experts = num_task_experts
        if not levels or not all(levels):
            raise ConfigError(message("A PLE needs widths for each level.", received=levels, way_out="Such as [[256], [128]]."))
        sizes = _Sizes(num_shared_experts, num_task_experts, tuple(gate_hidden), activation, dropout)
        inputs = [in_features, *(hidden[-1] for hidden in levels[:-1])]
        above = range(len(levels) - 1, -1, -1)
        self.levels = nn.ModuleList(
            _Level(width, self.tasks, hidden, sizes, above=left)
            for width, hidden, left in zip(inputs, levels, above, strict=True)
        )
        self.out_features = levels[-1][-1]

    def forward(self, x: Float[Tensor, "n d"]) -> Shared:
        """Gives each task its stream after the last level."""
        drop = self.expert_dropout if self.training else 0.0
        streams, shared, passed = x, x, []
        for level in self.levels:
            passed.append(level(streams, shared, drop))
            streams, shared = passed[-1].streams, passed[-1].shared
        # Private are the last level and the task gates below it; these are the places that they read.
        last, below = passed[-1], passed[:-1][-1:]
        junction = (last.common, *(part for level in below for part in (level.common, level.own, level.entry)))
        return Shared(streams, junction if below else (last.common, last.entry), self._over_all(last.gates))

    def _over_all(self, gates: Float[Tensor, "k n _"]) -> Float[Tensor, "k n e"]:
        """Spreads each task's gate over the experts of all tasks."""
        num_tasks, num_own = len(self.tasks), self.num_task_experts
        eye = torch.eye(num_tasks, dtype=gates.dtype, device=gates.device)
        own = torch.einsum("kne,kj->knje", gates[..., :num_own], eye).flatten(2)
        return torch.cat([own, gates[..., num_own:]], dim=2)


class _Sizes(NamedTuple):
    num_shared: int
    num_own: int
    gate_hidden: tuple[int, ...]
    activation: str
    dropout: float


class _Passed(NamedTuple):
    """What a level hands on: the streams, its task gates, and what the tasks' private parts read of it."""

    streams: Float[Tensor, "k n h"]
    shared: Float[Tensor, "n _"]
    gates: Float[Tensor, "k n _"]
    common: Float[Tensor, "s n h"]
    own: Float[Tensor, "k t n h"]
    entry: Float[Tensor, "*k n d"]


class _Level(nn.Module):
    """One level. `above` counts the levels that follow: it decides what is private and whether there is a shared gate."""

    def __init__(self, width: int, tasks: Sequence[str], hidden: Sequence[int], sizes: _Sizes, *, above: int) -> None:
        super().__init__()
        self.above, self.num_own = above, sizes.num_own

        def experts(num: int) -> MLPs:
            return MLPs(num, width, hidden, activation=sizes.activation, dropout=sizes.dropout)

        self.shared_experts = experts(sizes.num_shared)
        self.task_experts = PerTask({task: experts(sizes.num_own) for task in tasks}, private=above == 0)
        seen = sizes.num_own + sizes.num_shared
        gates = {task: gate_network(width, seen, sizes.gate_hidden, sizes.activation) for task in tasks}
        self.task_gates = PerTask(gates, private=above <= 1)
        # The shared gate in parts, so that its weights are kept by the task whose experts they weigh, not by position.
        parts = {task: gate_network(width, sizes.num_own, sizes.gate_hidden, sizes.activation) for task in tasks}
        self.shared_gate_own = PerTask(parts, private=False) if above else None
        self.shared_gate_common = gate_network(width, sizes.num_shared, sizes.gate_hidden, sizes.activation) if above else None

    def forward(self, streams: Float[Tensor, "*k n d"], shared: Float[Tensor, "n d"], drop: float) -> _Passed:
        """Mixes each task's experts and the shared ones, and for the shared stream all of them."""
        entry = streams.view_as(streams)  # views: places in the graph for what tasks alone send back, without the shared gate
        own = torch.stack(side_by_side(self.task_experts.values(), streams if self.above else entry))
        common = self.shared_experts(shared)
        gates = gate_weights(torch.cat(side_by_side(self.task_gates.values(), entry)), drop)
        own_seen, common_seen = own.view_as(own), common.view_as(common)
        mixed = torch.einsum("kne,kenh->knh", gates[..., : self.num_own].to(own.dtype), own_seen)
        mixed = mixed + mix(gates[..., self.num_own :], common_seen)
        return _Passed(mixed, self._shared_stream(shared, own, common, drop), gates, common_seen, own_seen, entry)

    def _shared_stream(self, shared: Tensor, own: Tensor, common: Tensor, drop: float) -> Tensor:
        if self.shared_gate_own is None or self.shared_gate_common is None:
            return shared
        parts = [*side_by_side(self.shared_gate_own.values(), shared), self.shared_gate_common(shared)]
        gates = gate_weights(torch.cat(parts, dim=2), drop)
        tasks_experts = own.flatten(0, 1)
        mixed = mix(gates[..., : len(tasks_experts)], tasks_experts) + mix(gates[..., len(tasks_experts) :], common)
        return mixed.squeeze(0)
