"""The sum of the gradients, turned until it harms no task."""

from collections.abc import Mapping, Sequence
from typing import Any, final

from jaxtyping import Float
from torch import Tensor

from polytask.balancers._given import Given
from polytask.balancers._gradient import GramianBalancer
from polytask.balancers.measures import DEFAULT_MEASURE, Measure, Measured
from polytask.balancers.solvers import dual_cone_weights
from polytask.errors import ConfigError, message


@final
class DualProjection(GramianBalancer):
    """The weighted sum of the gradients, projected onto the directions that harm no task (DualProj).

    `d = argmin_y ||y - Σ_i u_i g_i||` over all y with `<g_j, y> >= 0` for every j

    Prefer it as the least change of a weighted sum that harms no task, with preferences of your own. Not where one gradient is
    far longer: the sum is that gradient, and tasks that it harms get a gain of exactly 0, where `upgrad` gives them some.

    Size: weights are the preferences where the sum harms no task, more where it does; d is never longer than the sum. Keep the
    learning rate.

    Cost: the measure, and one problem of size k. See `GramianBalancer`.

    Source: Lopez-Paz & Ranzato 2017, "Gradient Episodic Memory for Continual Learning", eq. 11, for tasks trained at once as in
    TorchJD (not at hand; checked against the definition, by another solver).
    Differs: the sum where TorchJD takes the mean; exact at any scale.

    Args:
        tasks: Names of the k tasks.
        preferences: u of tasks by name, finite and not negative; a task that is not named has 1.
        measure: Where gradients are compared: a name in `MEASURES`, a table of its options, or a `Measure`.
        every: Steps from one measurement to the next; between them the last weights are used.

    Raises:
        ConfigError: If a preference is not a number ≥ 0, names no task, or all are 0.

    Example:
        >>> import torch
        >>> x = torch.nn.Parameter(torch.ones(2))
        >>> balancer = DualProjection(["click", "buy"], preferences={"click": 3.0})
        >>> _ = balancer.backward({"click": x[0], "buy": x[1] - x[0]}, shared=[x])
        >>> x.grad
        tensor([1.5000, 1.5000])
    """

    def __init__(
        self,
        tasks: Sequence[str],
        *,
        preferences: Mapping[str, float] | None = None,
        measure: str | Mapping[str, Any] | Measure = DEFAULT_MEASURE,
        every: int = 1,
    ) -> None:
        super().__init__(tasks, measure=measure, every=every)
        given = dict(preferences or {})
        self.preferences = Given(self.tasks, given, what="preference")
        if not any(given.get(name, 1.0) for name in self.tasks):
            raise ConfigError(message("At least one task needs a preference above 0.", received=given))

    def weigh(self, measured: Measured, losses: Float[Tensor, " m"], names: tuple[str, ...]) -> Float[Tensor, " m"]:
        """Weights of the projection."""
        return dual_cone_weights(measured.gramian, self.preferences.at(names).to(losses).unsqueeze(0)).squeeze(0)
