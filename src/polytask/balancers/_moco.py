"""The min-norm weights of tracked gradients."""

from collections.abc import Mapping, Sequence
from typing import Any, final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polytask.balancers._cut import accumulator
from polytask.balancers._given import check_not_negative, check_positive
from polytask.balancers._memory import MovingAverages
from polytask.balancers._remembering import FIXED_SKETCH, RememberingBalancer
from polytask.balancers._shares import Shares, on_simplex
from polytask.balancers.measures import Measure, Measured
from polytask.errors import ConfigError, message


@final
class MoCo(RememberingBalancer):
    """Multi-objective gradient with correction: MGDA on gradients that are tracked from step to step, in small steps.

    `y_k ← y_k + β_t (g_k - y_k)`, `λ ← Π(λ - γ_t (Y Yᵀ / s + ρ I) λ)` on the simplex, `β_t = β / t^σ`, `γ_t = γ / t^σ`; `w = m λ`

    MGDA on the gradients of one batch is biased: their variance stands on the diagonal of the Gramian. What is tracked has less
    of it, and less with each step.

    Prefer it over MGDA with small batches. Not where tasks' gradients turn quickly (high rates): what is tracked is old then.

    Cost: that of the measure in each step, and k vectors of its features.

    Source: Fernando et al. 2023, "Mitigating Gradient Bias in Multi-objective Learning: A Provably Convergent Approach",
    algorithm 1 (from memory; defaults and decay of the rates as in LibMTL, which follows code of the authors).
    Differs: m times the paper's direction, so that a task alone trains as without a balancer. What is tracked is divided by the
    share that is not its start at zero, as in Adam. `Y Yᵀ` is divided by `s`, the square of the mean length of y: γ and ρ have no
    unit. LibMTL replaces each gradient by its direction times the loss and projects by a softmax; here gradients stay as they
    are, as in the paper. The weights multiply today's gradients, where the paper sends the tracked ones: `Balance` then says what
    was done, and what is tracked may be a sketch; a momentum of the optimizer averages them. A task counts its own steps t. What
    belongs to one task keeps that task's own gradient.

    Args:
        tasks: Names of the k tasks.
        measure: Where gradients are compared: one whose features can be kept.
        beta: Rate of what is tracked, above 0 and up to 1, which keeps nothing.
        gamma: Rate of the weights.
        rho: Pull of the weights towards equal ones.
        decay: Exponent σ with which both rates fall.

    Raises:
        ConfigError: If the measure cannot be kept from step to step or a number is out of its range.

    Example:
        >>> import torch
        >>> balancer, x = MoCo(["click", "buy"], measure="parameters", gamma=0.5), torch.nn.Parameter(torch.ones(2))
        >>> balance = balancer.backward({"click": 3 * x[0] + x[1], "buy": x[1] + 0}, shared=[x])
        >>> {name: round(weight.item(), 3) for name, weight in balance.weights.items()}
        {'click': 0.481, 'buy': 1.519}
    """

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        measure: str | Mapping[str, Any] | Measure = FIXED_SKETCH,
        beta: float = 0.5,
        gamma: float = 0.1,
        rho: float = 0.0,
        decay: float = 0.5,
    ) -> None:
        super().__init__(tasks, measure=measure)
        check_positive(beta=beta, gamma=gamma)
        check_not_negative(rho=rho, decay=decay)
        if beta > 1:
            raise ConfigError(message("`beta` is a share of today's gradient, up to 1.", received=beta))
        self.beta, self.gamma, self.rho, self.decay = beta, gamma, rho, decay
        self.tracked = MovingAverages(self.tasks)
        self.shares = Shares(self.tasks)

    def remember(
        self,
        measured: Measured,
        losses: Float[Tensor, " m"],  # noqa: ARG002 - gradients alone decide
        finite: Bool[Tensor, " m"],
        names: tuple[str, ...],
    ) -> Float[Tensor, " m"]:
        """Tracks, then one projected step."""
        today = self.tracked.memory.joined(measured.features, measured.places)
        fall = self.tracked.next_step(names) ** -self.decay
        y = self.tracked.follow(names, today, self.beta * fall, finite)
        y = y.to(accumulator(y)) * finite.unsqueeze(1)
        scale = (y.norm(dim=1).sum() / finite.sum().clamp_min(1)).square()
        gramian = y @ y.mT / torch.where(scale > 0, scale, 1.0)
        shares = self.shares.at(names, finite).to(y.dtype)
        shares = on_simplex(shares - self.gamma * fall * (gramian @ shares + self.rho * shares), finite)
        self.shares.put(names, shares, finite)
        return finite.sum() * shares
