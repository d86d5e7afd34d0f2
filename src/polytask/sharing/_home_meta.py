"""The meta level of HoME: a stream for each group of tasks and one for all, mixed from experts of groups and of all."""

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.sharing._base import PerTask
from polytask.sharing._gates import few_softmax, gate_network, gate_weights
from polytask.sharing._home_experts import ExpertOptions, GatedExperts, gated_side_by_side
from polytask.sharing._mixtures import mixture
from polytask.sharing._mlps import MLPs, side_by_side, together


class HomeSizes(NamedTuple):
    """What both levels of one HoME have in common.

    Args:
        num_group: Experts of each group.
        num_shared: Experts of all.
        gate_hidden: Widths of hidden layers before a gate's softmax.
        options: Of the experts.
    """

    num_group: int
    num_shared: int
    gate_hidden: tuple[int, ...]
    options: ExpertOptions

    def gate(self, in_features: int, num_experts: int) -> MLPs:
        """A gate over some experts."""
        return gate_network(in_features, num_experts, self.gate_hidden, "silu")


@final
class PerGroup(nn.Module):
    """A module for each group; that of a group of one task is private to the task.

    Args:
        groups: Tasks of each group; those of several tasks first.
        make: Makes a module.
    """

    def __init__(self, groups: Mapping[str, tuple[str, ...]], make: Callable[[], nn.Module]) -> None:
        super().__init__()
        self.several = PerTask({group: make() for group, members in groups.items() if len(members) > 1}, private=False)
        self.alone = PerTask({members[0]: make() for members in groups.values() if len(members) == 1})


class MetaStreams(NamedTuple):
    """What the meta level hands on.

    Args:
        joint: Streams of the groups of several tasks, all in one tensor `g n h`; () without such groups.
        alone: Streams of the groups of one task, likewise.
        shared: The stream of all.
        cut: What the private gates of groups of one task read.
    """

    joint: tuple[Tensor, ...]
    alone: tuple[Tensor, ...]
    shared: Float[Tensor, "n h"]
    cut: tuple[Tensor, ...]


@final
class Meta(nn.Module):
    """Experts of each group and of all, and the gates that mix them.

    Args:
        width: Width of the input.
        groups: Tasks of each group; those of several tasks first.
        hidden: Width of each layer of an expert.
        sizes: What both levels have in common.
    """

    def __init__(self, width: int, groups: Mapping[str, tuple[str, ...]], hidden: Sequence[int], sizes: HomeSizes) -> None:
        super().__init__()
        num_own, num_shared = sizes.num_group, sizes.num_shared
        experts = {group: GatedExperts(num_own, width, hidden, sizes.options) for group in groups}
        self.group_experts = PerTask(experts, private=False)
        self.shared_experts = GatedExperts(num_shared, width, hidden, sizes.options)
        self.group_gates = PerGroup(groups, lambda: sizes.gate(width, num_own + num_shared))
        self.self_gates = PerGroup(groups, lambda: sizes.gate(width, num_own))
        # The shared gate in parts, so that its weights are kept by the group whose experts they weigh, not by position.
        self.shared_gate_groups = PerTask({group: sizes.gate(width, num_own) for group in groups}, private=False)
        self.shared_gate_common = sizes.gate(width, num_shared)
        self.shared_self_gate = sizes.gate(width, num_shared)

    def forward(self, x: Float[Tensor, "n d"], drop: float) -> MetaStreams:
        """Mixes for each group its own experts and the shared ones, for the shared stream all of them."""
        own = gated_side_by_side(self.group_experts.values(), x)
        common = self.shared_experts(x)
        num_joint = len(self.group_gates.several)
        joint = (self._streams("several", (x, own[:num_joint], common), drop),) if num_joint else ()
        # Gates of a group of one task are private: views are the places in the graph that they alone read.
        cut = tuple(part.view_as(part) for part in (x, own[num_joint:], common)) if num_joint < len(own) else ()
        alone = (self._streams("alone", cut, drop),) if cut else ()
        return MetaStreams(joint, alone, self._shared(x, own, common, drop), cut)

    def _streams(self, kind: str, read: tuple[Tensor, ...], drop: float) -> Float[Tensor, "g n h"]:
        x, own, common = read
        gates = gate_weights(together(self.group_gates.get_submodule(kind).children(), x), drop)
        native = gates[..., : own.shape[1]] + self_weights(together(self.self_gates.get_submodule(kind).children(), x))
        return mixture(torch.cat([native, gates[..., own.shape[1] :]], dim=2), own, common)

    def _shared(self, x: Tensor, own: Tensor, common: Tensor, drop: float) -> Float[Tensor, "n h"]:
        parts = [*side_by_side(self.shared_gate_groups.values(), x), self.shared_gate_common(x)]
        gates = gate_weights(torch.cat(parts, dim=2), drop)
        native = gates[..., -len(common) :] + self_weights(self.shared_self_gate(x))
        return mixture(torch.cat([gates[..., : -len(common)], native], dim=2), own.flatten(0, 1).unsqueeze(0), common).squeeze(0)


def self_weights(logits: Float[Tensor, "u n t"]) -> Float[Tensor, "u n t"]:
    """What each unit adds of its own t experts, whatever its gate says: a softmax, or a sigmoid of one."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    return few_softmax(logits) if logits.shape[-1] > 1 else logits.sigmoid()
