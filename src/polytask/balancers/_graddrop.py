"""Each coordinate follows the tasks of one sign, drawn by how much they agree."""

from collections.abc import Mapping, Sequence
from typing import final

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from polytask.balancers._coordinates import CoordinateBalancer, Places
from polytask.balancers._cut import accumulator
from polytask.balancers._given import Given
from polytask.balancers._state import Count
from polytask.errors import ConfigError, message


@final
class GradDrop(CoordinateBalancer):
    """Gradient sign dropout: where tasks pull a coordinate both ways, one way is drawn and the other is dropped.

    `P = ½ (1 + Σ_k g_k / Σ_k |g_k|)`; with probability P the positive parts are kept, else the negative ones:
    `Σ_k g_k (l_k + (1 - l_k) [g_k has the drawn sign])`

    Where all signs agree it is the plain sum. It is a noise that is large where tasks disagree, and no descent direction for
    any one of them.

    Prefer it as a regulariser with several tasks of like scale. Not with few rows or small rates of learning needed at the end
    (the noise stays), nor with losses of different scale: P is the largest gradient's sign.

    Cost: at the junction one random number for each activation and a few passes over k of them; at parameters k passes through
    the trunk.

    Source: Chen et al. 2020, "Just Pick a Sign: Optimizing Deep Multitask Models with Gradient Sign Dropout", algorithm 1 (lines
    as TorchJD gives them; the text was not at hand).
    Differs: at the junction each row draws its own signs; the paper adds gradients up over the batch first, times the sign of
    the activation. With `measure = "parameters"` a coordinate is added up over the batch by itself. The function f that the paper
    allows around P is the identity. Draws come from a generator of this balancer's own, seeded by the number of the step.

    Args:
        tasks: Names of the k tasks.
        measure: Whose coordinates: "junction" (shared activations) or "parameters" (shared parameters).
        leak: Share `l_k` of a task's gradient that is never dropped, from 0 to 1; a task that is not named has 0.

    Raises:
        ConfigError: If the measure is neither, or a leak is out of range or names no task.

    Example:
        >>> import torch
        >>> x = torch.nn.Parameter(torch.ones(2))
        >>> balancer = GradDrop(["click", "buy"], measure="parameters")
        >>> _ = balancer.backward({"click": 2 * x[0] + 3 * x[1], "buy": x[0] - x[1]}, shared=[x])
        >>> x.grad  # in the second coordinate 3 or -1
        tensor([ 3., -1.])
    """

    def __init__(self, tasks: Sequence[str], *, measure: Places = "junction", leak: Mapping[str, float] | None = None) -> None:
        super().__init__(tasks, measure=measure)
        given = leak or {}
        if any(share > 1 for share in given.values()):
            raise ConfigError(message("The leak of a task is a share, from 0 to 1.", received=dict(given)))
        self._leak = Given(self.tasks, dict.fromkeys(self.tasks, 0.0) | dict(given), what="leak")
        self.steps = Count()

    def combine(
        self,
        rows: Mapping[int, Float[Tensor, "m *_"]],
        finite: Bool[Tensor, " m"],
        names: tuple[str, ...],
    ) -> tuple[Mapping[int, Float[Tensor, "*_"]], Float[Tensor, " m"]]:
        """One sign a coordinate; the weight of a task is the share of its squared gradient that passed."""
        leak, device = self._leak.at(names), finite.device
        generator = torch.Generator(device).manual_seed(self.steps.next())
        kept, passed, whole = (
            dict[int, Tensor](),
            finite.new_zeros((), dtype=torch.float32),
            finite.new_zeros((), dtype=torch.float32),
        )
        for place, g in rows.items():
            share = _shares(g, leak.to(g.dtype), generator)
            kept[place] = (share * g).sum(0)
            passed = passed + _squared(share.sqrt() * g)
            whole = whole + _squared(g)
        return kept, torch.where(whole > 0, passed / torch.where(whole > 0, whole, 1.0), 1.0)


def _squared(g: Float[Tensor, "m *_"]) -> Float[Tensor, " m"]:
    length: Tensor = torch.linalg.vector_norm(g.flatten(1), dim=1, dtype=accumulator(g))
    return length.square()


def _shares(g: Float[Tensor, "m *f"], leak: Float[Tensor, " m"], generator: torch.Generator) -> Float[Tensor, "m *f"]:
    """What passes of each coordinate of each task: 1 for the drawn sign, the leak for the other."""
    up, total = g.clamp_min(0).sum(0), g.abs().sum(0)
    # P = up / total without the quotient: where all signs agree the draw, in [0, 1), cannot choose the other.
    rises = torch.rand(up.shape, generator=generator, device=g.device, dtype=g.dtype) * total < up
    leak = leak.view(-1, *[1] * up.dim())
    return torch.where((g > 0) == rises, 1.0, leak)
