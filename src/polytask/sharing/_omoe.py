"""A mixture of experts with one gate for all tasks."""

from collections.abc import Sequence
from typing import final

from jaxtyping import Float
from torch import Tensor

from polytask.sharing._base import Shared, Sharing
from polytask.sharing._experts import ExpertPlan
from polytask.sharing._gates import check_drop, gate_network, gate_weights, mix
from polytask.sharing._history_experts import mean_of_steps
from polytask.sharing._mlps import MLPs, for_all


@final
class OMoE(Sharing):
    """One-gate mixture of experts: all tasks take the same mixture.

    `z = Σ_i g(x)_i f_i(x)`, `g(x) = softmax(W x)`, the same `z` for every task.

    Prefer it as the control of an MMoE: the difference of the two is what gates of their own are worth. Not where tasks conflict:
    close to MMoE where they agree fully, its loss on opposed synthetic tasks is 1.8 times MMoE's.

    Cost: e MLPs and one gate; as MMoE.

    Source: Ma et al., KDD 2018, equation 5 and the OMoE baseline.

    Differs: nothing; equals MMoE with tied gates.

    Args:
        in_features: Width d of the representation that comes in.
        tasks: Names of the k tasks.
        num_experts: Number e of experts.
        hidden: Width of each layer of an expert.
        gate_hidden: Widths of hidden layers before the gate's softmax.
        expert_dropout: Probability of leaving an expert out of a row's mixture in training.
        activation: Name in `ACTIVATIONS`.
        dropout: Share of expert units dropped after each layer in training.
        expert_kinds: Kind of each expert, as in `MMoE`; () for MLPs alone.
        step_width: Width of steps, as in `MMoE`.

    Raises:
        ConfigError: If a size, `activation`, `dropout`, `expert_dropout` or a kind is not valid.

    Example:
        >>> import torch
        >>> OMoE(5, ["click", "buy"], num_experts=3, hidden=(16,))(torch.zeros(3, 5)).gates.shape
        torch.Size([2, 3, 3])
    """

    def __init__(
        self,
        in_features: int,
        tasks: Sequence[str],
        *,
        num_experts: int = 8,
        hidden: Sequence[int] = (128,),
        gate_hidden: Sequence[int] = (),
        expert_dropout: float = 0.0,
        activation: str = "relu",
        dropout: float = 0.0,
        expert_kinds: Sequence[str] = (),
        step_width: int = 0,
    ) -> None:
        super().__init__(in_features, tasks)
        self.expert_dropout = check_drop(expert_dropout)
        plan = ExpertPlan(num_experts, hidden, expert_kinds, step_width, activation, dropout)
        self.experts = plan.build(in_features)
        self.gate = gate_network(in_features, num_experts, gate_hidden, activation)
        self.out_features = self.experts.out_features
        self.expert_owners = (self.tasks,) * num_experts

    def forward(self, x: Float[Tensor, "n *t d"]) -> Shared:
        """Gives every task the one mixture."""
        flat = mean_of_steps(x)
        experts = self.experts(flat if isinstance(self.experts, MLPs) else x)
        gates = gate_weights(self.gate(flat), self.expert_dropout if self.training else 0.0)
        z = mix(gates, experts).squeeze(0)
        num_tasks = len(self.tasks)
        return Shared(for_all(z, num_tasks), (z,), gates.expand(num_tasks, -1, -1))
