"""An embedding of each task beside a shared one, and experts that only their own task trains."""

from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from polytask.errors import ConfigError, message
from polytask.sharing._base import PerTask, Shared, Sharing
from polytask.sharing._gates import check_drop, gate_weights
from polytask.sharing._levels import expert_owners
from polytask.sharing._mixtures import mixture_of_all
from polytask.sharing._mlps import MLPs, by_group, together
from polytask.sharing._named_rows import gate_over_all


@final
class STEM(Sharing):
    """Shared and task-specific embeddings: each task looks at the experts of all tasks, but trains only its own and the shared.

    `z_k = g_k(x_k + x_s) · [E_k(x_k); sg E_l(x_l) for l ≠ k; E_s(x_s)]`, where `x_k` is the task's own embedding, `x_s` the
    shared one, g a softmax and sg stops the gradient ("all forward, task-specific backward").

    Prefer it where tasks disagree on what is alike: two items close for click and far apart for purchase cannot be both in one
    table, and no architecture above the table can undo it. It wants many labels a task, for every task learns a table of its own.
    Not where memory is short, nor for tasks with few labels (`MMoE`, `PLE`: one table).

    Cost: k + 1 encoders, which is k + 1 times the embeddings; `k · num_task_experts + num_shared_experts` MLPs. Backward it is
    cheaper than an `AdaTT` of the size: nothing goes back to other tasks' experts.

    Source: Su et al., AAAI 2024; held against the authors' code. Published sizes: hidden [512, 512, 512], gate_hidden [128, 64],
    one or more experts a task and up to 8 shared ones, embeddings of 16, rate 1e-3 or 1e-4, batches of 4096.

    Differs: gates have no last bias, as in this family throughout. One level, as published: public code can stack several, whose
    shared stream then carries every task's loss into every task's experts and tables.

    Args:
        in_features: Width d of each encoder's representation.
        tasks: Names of the k tasks.
        hidden: Width of each layer of an expert.
        num_task_experts: Number of experts of each task.
        num_shared_experts: Number of shared experts.
        gate_hidden: Widths of hidden layers before a gate's softmax.
        expert_dropout: Probability of leaving an expert out of a row's mixture in training.
        activation: Name in `ACTIVATIONS`.
        dropout: Share of expert units dropped after each layer in training.

    Raises:
        ConfigError: If a size, `activation`, `dropout` or `expert_dropout` is not valid.

    Example:
        >>> stem = STEM(5, ["click", "buy"], hidden=(16,), num_task_experts=2)
        >>> stem(torch.zeros(stem.num_inputs, 4, 5)).gates.shape
        torch.Size([2, 4, 6])
    """

    def __init__(
        self,
        in_features: int,
        tasks: Sequence[str],
        *,
        hidden: Sequence[int] = (128,),
        num_task_experts: int = 1,
        num_shared_experts: int = 2,
        gate_hidden: Sequence[int] = (),
        expert_dropout: float = 0.0,
        activation: str = "relu",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(in_features, tasks)
        self.num_inputs = len(self.tasks) + 1
        self.expert_dropout = check_drop(expert_dropout)
        if min(num_task_experts, num_shared_experts) < 1:
            received = f"num_task_experts={num_task_experts}, num_shared_experts={num_shared_experts}"
            raise ConfigError(message("A STEM has experts of each task and shared ones.", received=received))

        def experts(num: int) -> MLPs:
            return MLPs(num, in_features, hidden, activation=activation, dropout=dropout)

        self.task_experts = PerTask({task: experts(num_task_experts) for task in self.tasks})
        self.shared_experts = experts(num_shared_experts)
        sizes = (num_task_experts, num_shared_experts)
        self.gates = PerTask(
            {
                task: gate_over_all(in_features, self.tasks, *sizes, hidden=gate_hidden, activation=activation)
                for task in self.tasks
            }
        )
        self.out_features = self.shared_experts.out_features
        self.expert_owners = expert_owners(self.tasks, num_task_experts, num_shared_experts)

    def forward(self, x: Float[Tensor, "i n d"]) -> Shared:
        """Gives each task its mixture; the last input is the shared one."""
        embedded, shared = torch.split(x, [len(self.tasks), 1])
        shared = shared.squeeze(0)
        entry = shared.view_as(shared)  # its own place in the graph: what tasks send back through their gates
        own = by_group(self.task_experts.values(), embedded)
        common = self.shared_experts(shared)
        logits = together(self.gates.values(), embedded + entry)
        gates = gate_weights(logits, self.expert_dropout if self.training else 0.0)
        return Shared(mixture_of_all(gates, own, common), (common, entry), gates)
