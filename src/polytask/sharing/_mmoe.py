"""A mixture of experts with a gate for each task."""

from collections.abc import Sequence
from typing import Any, final

from jaxtyping import Float
from torch import Tensor, nn

from polytask.errors import ConfigError, message
from polytask.sharing._base import Mixture, PerTask, Shared, Sharing
from polytask.sharing._experts import ExpertPlan, GivenExperts
from polytask.sharing._gates import check_drop, gate_network, gate_weights, mix
from polytask.sharing._history_experts import mean_of_steps
from polytask.sharing._mlps import MLPs, together


@final
class MMoE(Sharing):
    """Multi-gate mixture of experts: shared experts, and for each task a gate that weighs them row by row.

    `z_k = Σ_i g_k(x)_i f_i(x)`, `g_k(x) = softmax(W_k x)`.

    Prefer it where it is not known how related the tasks are: it costs little more than a `SharedBottom` of the same size, runs
    end at more even losses, and the gates show who shares what. Not for a handful of labels (more to fit), nor where one task
    drowns another: then experts of their own (`PLE`) protect the weaker one. Gates can polarise, each task keeping to one
    expert: watch `gate_statistics`, cure with `expert_dropout`.

    Experts may be of several kinds (`expert_kinds`), so that each task takes the kind that suits it. The input is `n d`, or a
    history `n t d`, oldest step first, where a step of nothing but zeros is padding: attention and recurrent experts read steps,
    all else (MLPs, cross networks, trunk, gates) their mean. `MMoE.around` takes modules of your own.

    With `num_layers` above 1 it is the multi-level MMoE (ML-MMoE): each expert of a level reads a mixture of the level below by a
    gate of its own, as if it were a task; all gates read the model's input (the trunk's output). A baseline worth having, rarely
    the best: its authors find it worse than every other model and blame what upper gates cannot see.

    Cost: e MLPs, k linear gates and one batched product; hardly grows with k.

    Source: Ma et al., KDD 2018, equations 6 and 7. Trunk and expert dropout: Zhao et al., RecSys 2019. Levels: the ML-MMoE of
    Ma et al., AAAI 2019 (SNR); Tang et al., RecSys 2020, figure 1h, and AdaTT, KDD 2023, compare with it too.

    Differs: nothing in the formula. Gates have no bias, as printed; public code adds one.

    Args:
        in_features: Width d of the representation that comes in.
        tasks: Names of the k tasks.
        num_experts: Number e of experts in each level.
        hidden: Width of each layer of an expert.
        gate_hidden: Widths of hidden layers before the gate's softmax.
        num_layers: Levels of experts, one on the other.
        expert_dropout: Probability of leaving an expert out of a row's mixture in training.
        trunk: Widths of shared layers before experts and gates.
        activation: Name in `ACTIVATIONS`.
        dropout: Share of trunk and expert units dropped after each layer in training.
        expert_kinds: Kind of each expert, "mlp", "cross", "attention" or "recurrent"; () for MLPs alone.
        step_width: Width of the steps into which attention and recurrent experts cut a flat input, such as that of a column's
            embedding; 0 where the input is a history.

    Raises:
        ConfigError: If a size, `activation`, `dropout`, `expert_dropout` or a kind is not valid.

    Example:
        >>> import torch
        >>> MMoE(5, ["click", "buy"], num_experts=3, hidden=(16,))(torch.zeros(4, 5)).outputs.shape
        torch.Size([2, 4, 16])
    """

    def __init__(
        self,
        in_features: int,
        tasks: Sequence[str],
        *,
        num_experts: int = 8,
        hidden: Sequence[int] = (128,),
        gate_hidden: Sequence[int] = (),
        num_layers: int = 1,
        expert_dropout: float = 0.0,
        trunk: Sequence[int] = (),
        activation: str = "relu",
        dropout: float = 0.0,
        expert_kinds: Sequence[str] = (),
        step_width: int = 0,
    ) -> None:
        super().__init__(in_features, tasks)
        self.expert_dropout = check_drop(expert_dropout)
        _check_levels(num_layers, expert_kinds)
        self.gate_input: nn.Module | None = None
        self.trunk = MLPs(1, in_features, trunk, activation=activation, dropout=dropout) if trunk else None
        width = trunk[-1] if trunk else in_features
        inputs = [width, *(tuple(hidden)[-1:] * (num_layers - 1))]
        plan = ExpertPlan(num_experts, hidden, expert_kinds, step_width, activation, dropout)
        self.levels = nn.ModuleList(plan.build(size) for size in inputs)
        self.level_gates = nn.ModuleList(
            gate_network(width, num_experts, gate_hidden, activation, num=num_experts) for _ in range(1, num_layers)
        )
        self.gates = PerTask({task: gate_network(width, num_experts, gate_hidden, activation) for task in self.tasks})
        self.out_features = tuple(hidden)[-1]
        self.expert_owners = (self.tasks,) * num_experts

    @classmethod
    def around(
        cls,
        in_features: int,
        tasks: Sequence[str],
        *,
        experts: Sequence[nn.Module],
        out_features: int,
        gate_input: nn.Module | None = None,
        gate_hidden: Sequence[int] = (),
        expert_dropout: float = 0.0,
    ) -> "MMoE":
        """A mixture of modules of your own.

        Args:
            in_features: Width d of what gates read.
            tasks: Names of the k tasks.
            experts: Modules that map the mixture's input, whatever its shape, to `n h`.
            out_features: Width h of each expert's output.
            gate_input: Maps the mixture's input to the `n d` that gates read; all tasks share it. None where the input is `n d`,
                or a history `n t d` whose mean they read.
            gate_hidden: Widths of hidden layers before the gate's softmax.
            expert_dropout: Probability of leaving an expert out of a row's mixture in training.

        Raises:
            ConfigError: If there is no expert or a size is not valid; in use, if an expert gives another width.

        Example:
            >>> import torch
            >>> experts = [nn.Linear(5, 3), nn.Sequential(nn.Linear(5, 9), nn.Tanh(), nn.Linear(9, 3))]
            >>> MMoE.around(5, ["click", "buy"], experts=experts, out_features=3)(torch.zeros(4, 5)).outputs.shape
            torch.Size([2, 4, 3])
        """
        given, hidden = GivenExperts(experts, out_features), (out_features,)
        gates: dict[str, Any] = {"num_experts": given.num, "gate_hidden": gate_hidden, "expert_dropout": expert_dropout}
        mixture = cls(in_features, tasks, hidden=hidden, **gates)
        mixture.levels[0], mixture.gate_input = given, gate_input
        return mixture

    def forward(self, x: Float[Tensor, "n *t d"]) -> Shared:
        """Gives each task its mixture of the last level's experts."""
        if self.trunk is not None:
            x = self.trunk(mean_of_steps(x)).squeeze(0)
        flat: Tensor = mean_of_steps(x) if self.gate_input is None else self.gate_input(x)
        drop = self.expert_dropout if self.training else 0.0
        experts = self.levels[0](flat if isinstance(self.levels[0], MLPs) else x)
        for gate, level in zip(self.level_gates, self.levels[1:], strict=True):
            experts = level(mix(gate_weights(gate(flat), drop), experts))
        seen = flat.view_as(flat)  # its own place in the graph: what tasks send back through their gates, without the experts
        gates = gate_weights(together(self.gates.values(), seen), drop)
        mixed = mix(gates, experts)
        return Shared(mixed, (experts, seen), gates, mixtures=(Mixture(mixed, gates),))


def _check_levels(num_layers: int, expert_kinds: Sequence[str]) -> None:
    if num_layers < 1:
        raise ConfigError(message("An MMoE has at least one level of experts.", received=f"num_layers={num_layers}"))
    if num_layers > 1 and expert_kinds:
        expected = "Experts of several kinds stand in one level."
        raise ConfigError(
            message(expected, received=f"num_layers={num_layers}", way_out="Leave `expert_kinds` empty, or num_layers 1.")
        )
