"""A hierarchy of experts: of all tasks, of a group of tasks, of one task."""

from collections.abc import Mapping, Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.errors import ConfigError, message
from polytask.sharing._base import PerTask, Shared, Sharing
from polytask.sharing._gates import check_drop, gate_weights, mix
from polytask.sharing._groups import task_groups
from polytask.sharing._home_experts import ExpertOptions, GatedExperts, gated_side_by_side
from polytask.sharing._home_meta import HomeSizes, Meta, PerGroup, self_weights
from polytask.sharing._levels import over_all_experts
from polytask.sharing._mixtures import mixture
from polytask.sharing._mlps import together


@final
class HoME(Sharing):
    """Hierarchy of multi-gate experts: meta experts of task groups and of all, below experts of tasks, of groups and of all.

    Meta level, group c: `z_c = g_c(x) · [E_c; E_s] + s_c(x) · E_c`; shared: `z_s = g_s(x) · [E_1; ...; E_C; E_s] + s_s(x) · E_s`.
    Task level, task k of group c: `z_k = g_k(z_c, z_s) · [F_k(z_c); F_c(z_c); F_s(z_s)] + s_k(z_c) · F_k(z_c)`. g is a softmax,
    over the sum of logits from either stream where it reads two;
    the self-gate s too, or a sigmoid where there is one expert. Every expert is `swish(norm(MLP(v * gate(v))))` with the feature
    gate `gate(v) = Σ_j softmax(W v)_j 2 sigmoid(v B_j A_j)` of low rank.

    Prefer it for dozens of tasks of known kinds (clicks, watch time, comments), dense and sparse ones together, where in a `PLE`
    experts collapse, shared ones serve one task, or tasks ignore their own (`polytask.monitors` finds that). Not for two or three
    tasks, nor where a step must be cheap: each expert reads an input of its own.

    Cost: `g · num_group_experts + num_shared_experts` MLPs at both levels and `k · num_task_experts` at the second, each with a
    feature gate of `2 · num_feature_gates · feature_rank · d` products; the gated inputs take a d for each expert and row.

    Source: Wang et al., 2024 (arXiv 2408.05430), sections 3.1 to 3.3. Read in its abstract and in accounts of it; there is no
    code of the authors, and their sizes are not published.

    Differs: the norm is over an expert's units, so that no row sees another; `norm="batch"` is the published one (in training
    rows then see each other, and its statistics also see rows of tasks without label). Feature gates start at 1. Gates have no
    last bias. `Shared.gates` is how much a task takes of each expert, self-gate included, in shares that sum to 1: experts of
    tasks, then of groups (those of several tasks first), then shared ones. What only a group of one task uses is private to it.

    Args:
        in_features: Width d of the representation that comes in.
        tasks: Names of the k tasks.
        groups: Lists of tasks, or the group of each task by name; all tasks are one group where not given.
        meta_hidden: Width of each layer of an expert of the meta level.
        hidden: Width of each layer of an expert of the task level.
        num_task_experts: Experts of each task.
        num_group_experts: Experts of each group, at each level.
        num_shared_experts: Experts of all, at each level.
        num_feature_gates: Low-rank gates on the input of each expert; 0 leaves the input as it is.
        feature_rank: Rank of a feature gate.
        norm: "layer", "batch" or "none".
        gate_hidden: Widths of hidden layers before a gate's softmax.
        expert_dropout: Probability of leaving an expert out of a row's mixture in training; self-gates stay.
        dropout: Share of expert units dropped after each layer in training.

    Raises:
        ConfigError: If a size, `norm`, `dropout` or `expert_dropout` is not valid, or a task is not in one group.

    Example:
        >>> home = HoME(5, ["click", "buy", "like"], groups=[["click", "buy"], ["like"]], num_shared_experts=1)
        >>> home(torch.zeros(4, 5)).gates.shape
        torch.Size([3, 4, 8])
    """

    within: Tensor

    def __init__(
        self,
        in_features: int,
        tasks: Sequence[str],
        *,
        groups: Mapping[str, str] | Sequence[Sequence[str]] = (),
        meta_hidden: Sequence[int] = (128,),
        hidden: Sequence[int] = (128,),
        num_task_experts: int = 1,
        num_group_experts: int = 2,
        num_shared_experts: int = 2,
        num_feature_gates: int = 2,
        feature_rank: int = 8,
        norm: str = "layer",
        gate_hidden: Sequence[int] = (),
        expert_dropout: float = 0.0,
        dropout: float = 0.0,
    ) -> None:
        super().__init__(in_features, tasks)
        self.expert_dropout = check_drop(expert_dropout)
        if not meta_hidden or not hidden:
            received = f"meta_hidden={list(meta_hidden)}, hidden={list(hidden)}"
            raise ConfigError(message("A HoME needs widths for both levels.", received=received, way_out="Such as [128]."))
        self.groups = task_groups(groups, self.tasks)
        options = ExpertOptions(num_feature_gates, feature_rank, norm, dropout).check()
        sizes = HomeSizes(num_group_experts, num_shared_experts, tuple(gate_hidden), options)
        self.num_own = num_task_experts
        self.meta = Meta(in_features, self.groups, meta_hidden, sizes)
        width = meta_hidden[-1]
        self.task_experts = PerTask({task: GatedExperts(num_task_experts, width, hidden, options) for task in self.tasks})
        self.group_experts = PerGroup(self.groups, lambda: GatedExperts(num_group_experts, width, hidden, options))
        self.shared_experts = GatedExperts(num_shared_experts, width, hidden, options)
        seen = num_task_experts + num_group_experts + num_shared_experts
        self.task_gates = PerTask({task: sizes.gate(width, seen) for task in self.tasks})
        self.task_gates_of_shared = PerTask({task: sizes.gate(width, seen) for task in self.tasks})
        self.self_gates = PerTask({task: sizes.gate(width, num_task_experts) for task in self.tasks})
        places = [[task in members for members in self.groups.values()] for task in self.tasks]
        self.register_buffer("within", torch.tensor(places), persistent=False)
        self.out_features = hidden[-1]
        owners: list[tuple[str, ...]] = [(task,) for task in self.tasks for _ in range(num_task_experts)]
        owners += [members for members in self.groups.values() for _ in range(num_group_experts)]
        self.expert_owners = (*owners, *[self.tasks] * num_shared_experts)

    def forward(self, x: Float[Tensor, "n d"]) -> Shared:
        """Gives each task its mixture of the task level."""
        drop = self.expert_dropout if self.training else 0.0
        meta = self.meta(x, drop)
        # Views: places in the graph for what tasks' own parts send back, without the experts of groups and of all.
        joint, shared = [z.view_as(z) for z in meta.joint], meta.shared.view_as(meta.shared)
        readers = self._readers(joint, meta.alone)
        own = self._by_task([gated_side_by_side(map(self.task_experts.of, tasks), z) for tasks, z in readers])
        joint_experts = [gated_side_by_side(self.group_experts.several.values(), z) for z in meta.joint]
        alone_experts = [gated_side_by_side(self.group_experts.alone.values(), z) for z in meta.alone]
        groups, common = torch.cat([*joint_experts, *alone_experts]).flatten(0, 1), self.shared_experts(meta.shared)
        logits = self._by_task([together(map(self.task_gates.of, tasks), z) for tasks, z in readers])
        logits = logits + together(self.task_gates_of_shared.values(), shared)
        gates = gate_weights(logits, drop)
        selves = [together(map(self.self_gates.of, tasks), z) for tasks, z in readers]
        native = gates[..., : self.num_own] + self_weights(self._by_task(selves))
        theirs, ours = self._over_groups(gates[..., self.num_own : -len(common)]), gates[..., -len(common) :]
        z = mixture(torch.cat([native, ours], dim=2), own, common) + mix(theirs, groups)
        taken = over_all_experts(torch.cat([native, theirs, ours], dim=2), self.num_own)
        return Shared(z, (*joint, *joint_experts, shared, common, *meta.cut), taken / taken.sum(-1, keepdim=True))

    def _over_groups(self, gates: Float[Tensor, "k n _"]) -> Float[Tensor, "k n _"]:
        """Spreads each task's gate over its group's experts over those of all groups; 0 where it does not look."""
        return torch.einsum("kne,kg->knge", gates, self.within.to(gates.dtype)).flatten(2)

    def _readers(self, joint: Sequence[Tensor], alone: Sequence[Tensor]) -> list[tuple[tuple[str, ...], Tensor]]:
        """Tasks and the stream that they read: one for all tasks of a group, one each for those that are alone."""
        several = [members for members in self.groups.values() if len(members) > 1]
        streams = [z for part in joint for z in part.unbind(0)]
        lonely = tuple(members[0] for members in self.groups.values() if len(members) == 1)
        return [*zip(several, streams, strict=True), *((lonely, z) for z in alone)]

    def _by_task(self, parts: Sequence[Float[Tensor, "_ ..."]]) -> Float[Tensor, "k ..."]:
        """Puts what was computed group by group into the order of the tasks."""
        if len(parts) == 1:
            return parts[0]
        places = [task for members in self.groups.values() for task in members]
        rows = dict(zip(places, (row for part in parts for row in part.unbind(0)), strict=True))
        return torch.stack([rows[task] for task in self.tasks])
