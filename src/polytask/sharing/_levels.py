"""One level of a CGC or PLE: experts of each task, experts of all, and the gates between them."""

from collections.abc import Sequence
from typing import NamedTuple, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.errors import ConfigError, message
from polytask.sharing._base import PerTask
from polytask.sharing._gates import gate_network, gate_weights
from polytask.sharing._mixtures import mixture
from polytask.sharing._mlps import MLPs, by_group, side_by_side, together


class LevelSizes(NamedTuple):
    """What all levels of one architecture have in common.

    Args:
        num_shared: Shared experts a level.
        num_own: Experts of each task a level.
        gate_hidden: Widths of hidden layers before a gate's softmax.
        activation: Name in `ACTIVATIONS`.
        dropout: Share of expert units dropped after each layer in training.
    """

    num_shared: int
    num_own: int
    gate_hidden: tuple[int, ...]
    activation: str
    dropout: float

    def experts(self, num: int, in_features: int, hidden: Sequence[int]) -> MLPs:
        """Experts of one task, or of all."""
        return MLPs(num, in_features, hidden, activation=self.activation, dropout=self.dropout)

    def gate(self, in_features: int, num_experts: int) -> MLPs:
        """A gate over some experts."""
        return gate_network(in_features, num_experts, self.gate_hidden, self.activation)


class Passed(NamedTuple):
    """What a level hands on: the streams, its task gates, and what the tasks' private parts read of it."""

    streams: Float[Tensor, "k n h"]
    shared: Float[Tensor, "n _"]
    gates: Float[Tensor, "k n _"]
    common: Float[Tensor, "s n h"]
    own: Float[Tensor, "k t n h"]
    entry: Float[Tensor, "*k n d"]


@final
class Level(nn.Module):
    """One level. `above` counts the levels that follow: it decides what is private and whether there is a shared gate."""

    def __init__(self, width: int, tasks: Sequence[str], hidden: Sequence[int], sizes: LevelSizes, *, above: int) -> None:
        super().__init__()
        self.above, self.num_own = above, sizes.num_own
        seen, private = sizes.num_own + sizes.num_shared, above == 0
        self.shared_experts = sizes.experts(sizes.num_shared, width, hidden)
        self.task_experts = PerTask({task: sizes.experts(sizes.num_own, width, hidden) for task in tasks}, private=private)
        self.task_gates = PerTask({task: sizes.gate(width, seen) for task in tasks}, private=above <= 1)
        # The shared gate in parts, so that its weights are kept by the task whose experts they weigh, not by position.
        parts = {task: sizes.gate(width, sizes.num_own) for task in tasks}
        self.shared_gate_own = PerTask(parts, private=False) if above else None
        self.shared_gate_common = sizes.gate(width, sizes.num_shared) if above else None

    def forward(self, streams: Float[Tensor, "*k n d"], shared: Float[Tensor, "n d"], drop: float) -> Passed:
        """Mixes each task's experts and the shared ones, and for the shared stream all of them."""
        entry = streams.view_as(streams)  # views: places in the graph for what tasks alone send back, without the shared gate
        own = by_group(self.task_experts.values(), streams if self.above else entry)
        common = self.shared_experts(shared)
        gates = gate_weights(together(self.task_gates.values(), entry), drop)
        own_seen, common_seen = own.view_as(own), common.view_as(common)
        mixed = mixture(gates, own_seen, common_seen)
        return Passed(mixed, self._shared_stream(shared, own, common, drop), gates, common_seen, own_seen, entry)

    def _shared_stream(self, shared: Tensor, own: Tensor, common: Tensor, drop: float) -> Tensor:
        if self.shared_gate_own is None or self.shared_gate_common is None:
            return shared
        parts = [*side_by_side(self.shared_gate_own.values(), shared), self.shared_gate_common(shared)]
        gates = gate_weights(torch.cat(parts, dim=2), drop)
        return mixture(gates, own.flatten(0, 1).unsqueeze(0), common).squeeze(0)


def level_inputs(in_features: int, levels: Sequence[Sequence[int]]) -> list[int]:
    """Width of what each level reads: the input, then what the level before gives.

    Raises:
        ConfigError: If there is no level, or one without widths.
    """
    if not levels or not all(levels):
        raise ConfigError(
            message("A stack of levels needs widths for each level.", received=levels, way_out="Such as [[256], [128]].")
        )
    return [in_features, *(hidden[-1] for hidden in levels[:-1])]


def over_all_experts(gates: Float[Tensor, "k n _"], num_own: int) -> Float[Tensor, "k n e"]:
    """Spreads each task's gate (its own experts, then shared ones) over the experts of all tasks: 0 where it does not look."""
    own = torch.diag_embed(gates[..., :num_own].permute(1, 2, 0), dim1=0, dim2=2)
    return torch.cat([own.flatten(2), gates[..., num_own:]], dim=2)


def expert_owners(tasks: Sequence[str], num_own: int, num_shared: int) -> tuple[tuple[str, ...], ...]:
    """The tasks that each expert is for: each task's own in order, then the shared ones (`Sharing.expert_owners`)."""
    own = [(task,) for task in tasks for _ in range(num_own)]
    return (*own, *[tuple(tasks)] * num_shared)
