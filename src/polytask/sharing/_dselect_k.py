"""A mixture of experts whose gates end on a few experts."""

from collections.abc import Iterable, Sequence
from typing import cast, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.errors import ConfigError, message
from polytask.sharing._base import Mixture, PerTask, Shared, Sharing
from polytask.sharing._experts import ExpertPlan
from polytask.sharing._gates import mix
from polytask.sharing._history_experts import mean_of_steps
from polytask.sharing._mlps import MLPs


@final
class DSelectK(Sharing):
    """Differentiable selection: each task's gate is a mixture of a few selectors, each of which learns to name one expert.

    `z_k = Σ_i g_ki f_i(x)`, `g_k = Σ_s softmax(w_k)_s r(c_ks)`; `r(c)_i` is the product over the bits of i's binary code of
    `S(c_j)` where the bit is 1 and `1 - S(c_j)` where it is 0; the smooth step `S(c) = -2c³/γ³ + 3c/2γ + 1/2` is exactly 0 below
    `-γ/2` and exactly 1 above `γ/2`. `w` and `c` are parameters of the task, or linear in x (`per_example`). Training adds
    `entropy · Σ_k Σ_s H(r(c_ks))`, in the mean over rows.

    Prefer it over `MMoE` where many experts are to be served and few computed for a task: gates end on at most `num_selected`
    experts, smoothly, without the jumps of a top-k gate. Not where experts are few: all are computed in training anyway, and a
    selector that has decided gets no gradient any more; if it decides early (`entropy` too large), it stays wrong.

    Cost: e MLPs and one batched product, as `MMoE`; gates cost nothing, or k linear maps with `per_example`.

    Source: Hazimeh et al., NeurIPS 2021, equations 2 to 6, and their code (google-research/dselect_k_moe): initial `c` within
    `±γ/100`, `w` within ±0.05.

    Differs: where e is no power of two, a code without an expert names the one whose code remains when the bits that lead nowhere
    are cleared, so gates always sum to 1. The published gates lose that share and are pressed back by a penalty `1/Σ r`, which is
    infinite for a row whose selector has decided for such a code. Entropy counts in the mean over rows, not their sum.

    Args:
        in_features: Width d of the representation that comes in.
        tasks: Names of the k tasks.
        num_experts: Number e of experts.
        hidden: Width of each layer of an expert.
        num_selected: Number of selectors, so of experts that a task (or a row of it) ends on at most.
        per_example: Whether gates depend on the row; otherwise a task has one gate.
        gamma: Width γ of the smooth step.
        entropy: Strength of the penalty on undecided selectors.
        activation: Name in `ACTIVATIONS`.
        dropout: Share of expert units dropped after each layer in training.
        expert_kinds: Kind of each expert, as in `MMoE`; () for MLPs alone.
        step_width: Width of steps, as in `MMoE`.

    Raises:
        ConfigError: If a size, `num_selected`, `gamma`, `entropy`, `activation`, `dropout` or a kind is not valid.

    Example:
        >>> DSelectK(5, ["click", "buy"], num_experts=6, hidden=(16,))(torch.zeros(4, 5)).gates.shape
        torch.Size([2, 4, 6])
    """

    expert_of_code: Tensor

    def __init__(
        self,
        in_features: int,
        tasks: Sequence[str],
        *,
        num_experts: int = 8,
        hidden: Sequence[int] = (128,),
        num_selected: int = 2,
        per_example: bool = False,
        gamma: float = 1.0,
        entropy: float = 0.01,
        activation: str = "relu",
        dropout: float = 0.0,
        expert_kinds: Sequence[str] = (),
        step_width: int = 0,
    ) -> None:
        super().__init__(in_features, tasks)
        _check(num_experts, num_selected, gamma, entropy)
        self.num_selected, self.gamma, self.entropy = num_selected, gamma, entropy
        self.num_bits = max(1, (num_experts - 1).bit_length())
        plan = ExpertPlan(num_experts, hidden, expert_kinds, step_width, activation, dropout)
        self.experts = plan.build(in_features)
        width = in_features if per_example else 0
        self.selectors = PerTask({task: _Selectors(width, num_selected, self.num_bits, gamma) for task in self.tasks})
        self.register_buffer("expert_of_code", _expert_of_code(num_experts, self.num_bits), persistent=False)
        self.out_features = self.experts.out_features

    def forward(self, x: Float[Tensor, "n *t d"]) -> Shared:
        """Gives each task its mixture of the experts."""
        flat = mean_of_steps(x)
        experts = self.experts(flat if isinstance(self.experts, MLPs) else x)
        selectors = cast("list[_Selectors]", list(self.selectors.values()))
        gate_input = flat.view_as(
            flat
        )  # its own place in the graph: what tasks send back through their gates, without the experts
        bias = torch.stack([selector.bias for selector in selectors])
        if selectors[0].weight is None:
            logits = bias.unsqueeze(2)
        else:
            weight = torch.cat([cast("Tensor", one.weight) for one in selectors])
            logits = torch.unflatten(torch.addmm(bias.flatten().unsqueeze(1), weight, gate_input.mT), 0, bias.shape)
        weights, chosen = self._selectors_of(logits.to(torch.promote_types(logits.dtype, torch.float32)))
        gates = (weights.unsqueeze(2) * chosen).sum(1).mT.contiguous().expand(-1, x.shape[0], -1)
        junction = (experts,) if selectors[0].weight is None else (experts, gate_input)
        penalty = self.entropy * _entropy(chosen) if self.training and self.experts.num > 1 else None
        mixed = mix(gates, experts)
        return Shared(mixed, junction, gates, penalty, mixtures=(Mixture(mixed, gates),))

    def penalised_parameters(self) -> Iterable[nn.Parameter]:
        """Those of the selectors: decay would pull a decided bit back to where it is undecided, against the penalty."""
        return self.selectors.parameters()

    def _selectors_of(self, logits: Float[Tensor, "k _ n"]) -> tuple[Float[Tensor, "k s n"], Float[Tensor, "k s e n"]]:
        """How much each selector weighs, and what it chooses. Rows come last: vectors over bits would be of 2."""
        num_codes = self.num_selected * self.num_bits
        codes, weights = torch.split(logits, [num_codes, self.num_selected], 1)
        bits = torch.unflatten(smooth_step(codes, self.gamma), 1, (self.num_selected, self.num_bits)).unsqueeze(3)
        chosen = torch.cat([1 - bits[:, :, 0], bits[:, :, 0]], dim=2)
        for bit in bits.unbind(2)[1:]:  # the first is the most significant
            ones = chosen * bit
            chosen = torch.stack([chosen - ones, ones], dim=3).flatten(2, 3)
        if self.experts.num < chosen.shape[2]:
            chosen = self.expert_of_code.to(chosen.dtype).mT @ chosen
        return weights.softmax(1), chosen


def _entropy(chosen: Float[Tensor, "k s e n"]) -> Float[Tensor, ""]:
    """Of all selectors of all tasks, in the mean over rows."""
    each = -(chosen * (chosen + 1e-6).log())  # 1e-6 as published: a finite gradient at 0
    return each.mean(3).sum()


def smooth_step(c: Tensor, gamma: float = 1.0) -> Tensor:
    """0 below `-gamma/2`, 1 above `gamma/2`, between them the cubic that joins both without a kink.

    Example:
        >>> smooth_step(torch.tensor([-0.6, -0.5, 0.0, 0.25, 0.5]))
        tensor([0.0000, 0.0000, 0.5000, 0.8438, 1.0000])
    """
    c = (c / gamma).clamp(-0.5, 0.5)
    return 0.5 + c * (1.5 - 2 * c * c)


class _Selectors(nn.Module):
    """Selectors of one task: bits of their codes, then how much each weighs; biases, and maps of the input if it has width."""

    def __init__(self, in_features: int, num: int, num_bits: int, gamma: float) -> None:
        super().__init__()
        bounds = torch.tensor([gamma / 100] * (num * num_bits) + [0.05] * num)
        self.bias = nn.Parameter(bounds * (2 * torch.rand_like(bounds) - 1))
        self.weight: nn.Parameter | None = None
        if in_features:
            self.weight = nn.Parameter(bounds.unsqueeze(1) * (2 * torch.rand(len(bounds), in_features) - 1))


def _expert_of_code(num_experts: int, num_bits: int) -> Float[Tensor, "_ e"]:
    """Row c has a 1 at the expert that code c names; bits that lead to no expert count as 0."""
    named = []
    for code in range(2**num_bits):
        expert = 0
        for place in reversed(range(num_bits)):
            bit = code & (1 << place)
            expert |= bit if (expert | bit) < num_experts else 0
        named.append(expert)
    return torch.tensor([[float(expert == i) for i in range(num_experts)] for expert in named])


def _check(num_experts: int, num_selected: int, gamma: float, entropy: float) -> None:
    if not 1 <= num_selected <= num_experts:
        expected = f"A gate over {num_experts} experts ends on between 1 and {num_experts} of them."
        raise ConfigError(message(expected, received=f"num_selected={num_selected}"))
    if not gamma > 0:
        raise ConfigError(
            message("The smooth step has a positive width.", received=f"gamma={gamma}", way_out="1.0 is published.")
        )
    if not entropy >= 0:
        way_out = "0 leaves it to the tasks' losses whether selectors decide."
        raise ConfigError(message("The strength of a penalty is not negative.", received=f"entropy={entropy}", way_out=way_out))
