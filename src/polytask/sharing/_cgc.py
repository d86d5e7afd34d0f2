"""Experts of all and experts of one's own, in one level."""

from collections.abc import Sequence
from typing import final

from jaxtyping import Float
from torch import Tensor

from polytask.sharing._base import Mixture, Shared, Sharing
from polytask.sharing._gates import check_drop
from polytask.sharing._levels import Level, LevelSizes, expert_owners, over_all_experts


@final
class CGC(Sharing):
    """Customized gate control: each task mixes experts of its own with shared ones.

    `z_k = w_k(x) · [T_k(x); S(x)]`, `w_k(x) = softmax(W_k x)`.

    Prefer it to an `MMoE` where tasks conflict or one has far fewer labels than another: a task always keeps experts that no
    other task trains. With it, what levels add to a `PLE` is told apart from what experts of one's own add. Not for many tasks
    on a small budget: it grows with k; nor for tasks that agree, where MMoE is as good for less.

    Cost: `k · num_task_experts + num_shared_experts` MLPs and k gates.

    Source: Tang et al., RecSys 2020, equations 1 to 3.

    Differs: nothing; equals a `PLE` of one level. `Shared.gates` go over all experts, those of the tasks in order,
    then the shared; 0 where a task does not look.

    Args:
        in_features: Width d of the representation that comes in.
        tasks: Names of the k tasks.
        hidden: Width of each layer of an expert.
        num_shared_experts: Number of shared experts.
        num_task_experts: Number of experts of each task.
        gate_hidden: Widths of hidden layers before a gate's softmax.
        expert_dropout: Probability of leaving an expert out of a row's mixture in training.
        activation: Name in `ACTIVATIONS`.
        dropout: Share of expert units dropped after each layer in training.

    Raises:
        ConfigError: If a size, `activation`, `dropout` or `expert_dropout` is not valid.

    Example:
        >>> import torch
        >>> CGC(5, ["click", "buy"], hidden=(8,), num_task_experts=3)(torch.zeros(4, 5)).gates.shape
        torch.Size([2, 4, 8])
    """

    def __init__(
        self,
        in_features: int,
        tasks: Sequence[str],
        *,
        hidden: Sequence[int] = (128,),
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
        self.level = Level(in_features, self.tasks, hidden, sizes, above=0)
        self.out_features = self.level.shared_experts.out_features
        self.expert_owners = expert_owners(self.tasks, num_task_experts, num_shared_experts)

    def forward(self, x: Float[Tensor, "n d"]) -> Shared:
        """Gives each task its mixture."""
        passed = self.level(x, x, self.expert_dropout if self.training else 0.0)
        gates = over_all_experts(passed.gates, self.num_task_experts)
        mixture = Mixture(passed.streams, passed.gates[..., self.num_task_experts :])
        return Shared(passed.streams, (passed.common, passed.entry), gates, mixtures=(mixture,))
