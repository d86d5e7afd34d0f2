"""Experts of all and experts of one's own, in levels."""

from collections.abc import Sequence
from typing import final

from jaxtyping import Float
from torch import Tensor, nn

from polytask.sharing._base import Mixture, Shared, Sharing
from polytask.sharing._gates import check_drop
from polytask.sharing._levels import Level, LevelSizes, expert_owners, level_inputs, over_all_experts


@final
class PLE(Sharing):
    """Progressive layered extraction: each task mixes experts of its own with shared ones, level upon level.

    Level j, task k: `g_kj = w_kj(g_k,j-1) · [T_kj(g_k,j-1); S_j(g_s,j-1)]`; the shared stream mixes all experts of all tasks:
    `g_sj = w_sj(g_s,j-1) · [T_1j; ...; T_Kj; S_j]`; `g_0 = x`; w is a softmax. The last level has no shared gate. One level is a
    `CGC`.

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
        >>> import torch
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
        sizes = LevelSizes(num_shared_experts, num_task_experts, tuple(gate_hidden), activation, dropout)
        inputs = level_inputs(in_features, levels)
        above = range(len(levels) - 1, -1, -1)
        self.levels = nn.ModuleList(
            Level(width, self.tasks, hidden, sizes, above=left) for width, hidden, left in zip(inputs, levels, above, strict=True)
        )
        self.out_features = levels[-1][-1]
        self.expert_owners = expert_owners(self.tasks, num_task_experts, num_shared_experts)

    def forward(self, x: Float[Tensor, "n d"]) -> Shared:
        """Gives each task its stream after the last level."""
        drop = self.expert_dropout if self.training else 0.0
        streams, shared, passed = x, x, []
        for level in self.levels:
            passed.append(level(streams, shared, drop))
            streams, shared = passed[-1].streams, passed[-1].shared
        # Private are the last level and the task gates below it; these are the places that they read.
        last, below = passed[-1], passed[:-1][-1:]
        places = [part for level in below for part in (level.common, level.own, level.entry)] or [last.entry]
        read = [Mixture(streams, last.gates), *(Mixture(last.entry, level.gates) for level in below)]
        mixtures = tuple(part._replace(taken=part.taken[..., self.num_task_experts :]) for part in read)
        return Shared(streams, (last.common, *places), over_all_experts(last.gates, self.num_task_experts), mixtures=mixtures)
