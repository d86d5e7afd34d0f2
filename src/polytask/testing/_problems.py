"""Problems whose Pareto set is known: what a balancer ends at can be held against the truth. None draws a random number."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from polytask.balancers import Balancer


class Problem(ABC):
    """Base of the problems: losses as functions of a point, and how far a point is from the best compromises."""

    tasks: tuple[str, ...]
    """Names of the losses."""

    starts: tuple[tuple[float, ...], ...]
    """Points to start from."""

    least: tuple[float, ...]
    """A number below each loss: what must be taken away for methods that want losses above 0."""

    @abstractmethod
    def losses(self, x: Float[Tensor, " d"]) -> dict[str, Float[Tensor, ""]]:
        """Every task's loss at a point."""

    @abstractmethod
    def distance(self, x: Float[Tensor, " d"]) -> float:
        """Distance of a point to the Pareto set."""


def descend(
    problem: Problem, balancer: Balancer, start: Sequence[float], *, lr: float, steps: int, above_zero: bool = False
) -> Float[Tensor, " d"]:
    """Where Adam ends that follows a balancer; in the second half its rate falls to 0, so that it comes to rest.

    Args:
        problem: What is descended.
        balancer: Makes one direction of the losses; its own parameters have the same rate.
        start: Where to begin.
        lr: Rate of Adam at the beginning.
        steps: Number of steps.
        above_zero: Whether `problem.least` is taken away from the losses.

    Example:
        >>> from polytask.balancers import Equal
        >>> problem = TwoQuadratics()
        >>> problem.distance(descend(problem, Equal(problem.tasks), problem.starts[0], lr=0.1, steps=300)) < 1e-3
        True
    """
    x = nn.Parameter(torch.tensor(start, dtype=torch.float64))
    optimizer = torch.optim.Adam([x, *balancer.parameters()], lr=lr, betas=(0.7, 0.9))  # soon forgets: runs here are short
    shift = dict(zip(problem.tasks, problem.least if above_zero else [0.0] * len(problem.tasks), strict=True))

    def losses() -> dict[str, Tensor]:
        return {name: loss - shift[name] for name, loss in problem.losses(x).items()}

    for step in range(steps):
        optimizer.param_groups[0]["lr"] = lr * min(1.0, 2 - 2 * step / steps)
        optimizer.zero_grad()
        balancer.backward(losses(), shared=[x])
        optimizer.step()
        with torch.no_grad():
            balancer.after_step(losses)
    return x.detach()


@final
class TwoQuadratics(Problem):
    """Two bowls of one shape, one of them 20 times as steep: the Pareto set is the segment between their lowest points.

    Example:
        >>> problem = TwoQuadratics()
        >>> problem.distance(torch.tensor([0.0, 0.0, 0.0], dtype=torch.float64))
        0.0
    """

    tasks = ("flat", "steep")
    starts = ((2.0, -1.0, 1.5), (-3.0, 2.0, -1.0))
    least = (-1e-3, -1e-3)

    def losses(self, x: Float[Tensor, " d"]) -> dict[str, Float[Tensor, ""]]:
        """`½ |x - c|²` and `10 |x + c|²`."""
        centre = x.new_tensor([1.0, 0.5, 0.0])
        return {"flat": 0.5 * (x - centre).square().sum(), "steep": 10.0 * (x + centre).square().sum()}

    def distance(self, x: Float[Tensor, " d"]) -> float:
        """Distance to the segment."""
        centre = x.new_tensor([1.0, 0.5, 0.0])
        return float(_to_path(x, torch.stack([-centre, centre])))


@final
class ThreeQuadratics(Problem):
    """Three round bowls in space: the Pareto set is the triangle of their lowest points.

    Example:
        >>> problem = ThreeQuadratics()
        >>> problem.distance(torch.tensor([0.2, 0.2, 0.5], dtype=torch.float64))
        0.5
    """

    tasks = ("flat", "middle", "steep")
    starts = ((2.0, 2.0, 2.0), (-1.0, 0.5, -2.0))
    least = (-1e-3, -1e-3, -1e-3)

    def losses(self, x: Float[Tensor, " d"]) -> dict[str, Float[Tensor, ""]]:
        """`½ a_k |x - c_k|²` with centres 0, e_1, e_2 and steepness 1, 4, 16."""
        return {
            name: 0.5 * 4.0**number * (x - x.new_tensor(centre)).square().sum()
            for number, (name, centre) in enumerate(zip(self.tasks, _CORNERS, strict=True))
        }

    def distance(self, x: Float[Tensor, " d"]) -> float:
        """Distance to the triangle."""
        inside = x[0] >= 0 and x[1] >= 0 and x[0] + x[1] <= 1
        return float(x[2].abs() if inside else _to_path(x, x.new_tensor([*_CORNERS, _CORNERS[0]])))


_CORNERS = ([0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0])


@final
class FonsecaFleming(Problem):
    """Two losses whose front is bent inwards: no weights of a sum have their minimum between its ends.

    The Pareto set is the segment between the two lowest points.

    Source: Fonseca & Fleming 1995, "An Overview of Evolutionary Algorithms in Multiobjective Optimization" (from memory).

    Example:
        >>> problem = FonsecaFleming()
        >>> problem.distance(torch.tensor([0.3, 0.3], dtype=torch.float64))
        0.0
    """

    tasks = ("right", "left")
    starts = ((0.4, -0.5), (-0.7, 0.1))
    least = (-1e-3, -1e-3)

    def losses(self, x: Float[Tensor, " d"]) -> dict[str, Float[Tensor, ""]]:
        """`1 - exp(-|x - a|²)` and `1 - exp(-|x + a|²)` with `a = 1/√d` in every coordinate."""
        end = x.shape[0] ** -0.5
        return {"right": 1 - torch.exp(-(x - end).square().sum()), "left": 1 - torch.exp(-(x + end).square().sum())}

    def distance(self, x: Float[Tensor, " d"]) -> float:
        """Distance to the segment."""
        end = torch.full_like(x, x.shape[0] ** -0.5)
        return float(_to_path(x, torch.stack([-end, end])))


@final
class SteepValley(Problem):
    """A valley with steep walls, and a second loss that leads along it and out of it: the plain sum comes to rest at its floor.

    Across the valley the walls outweigh all else. Under Adam their size sets the step for both coordinates, since the valley
    lies askew, and what leads along the valley hardly moves. The Pareto set goes from the floor straight out to the lowest
    point of the second loss.

    Example:
        >>> problem = SteepValley()
        >>> problem.distance(torch.tensor([2.0, -1.0], dtype=torch.float64))
        0.0
    """

    tasks = ("walls", "along")
    starts = ((-3.0, 3.5), (-2.0, 1.0))
    least = (-1e-3, -1e-3)

    def losses(self, x: Float[Tensor, " d"]) -> dict[str, Float[Tensor, ""]]:
        """`1000 |x_1 + x_2|`, round at the floor, and `½ |x - (2, -1)|²`."""
        across = x[0] + x[1]
        return {
            "walls": 1000 * (torch.sqrt(across.square() + 1e-6) - 1e-3),
            "along": 0.5 * (x - x.new_tensor([2.0, -1.0])).square().sum(),
        }

    def distance(self, x: Float[Tensor, " d"]) -> float:
        """Distance to the segment."""
        return float(_to_path(x, x.new_tensor([[1.5, -1.5], [2.0, -1.0]])))


@final
class NashToy(Problem):
    """The two losses on which trajectories of gradient balancers are compared: ridges, a plateau, then a basin with the front.

    The first loss is a tenth of its published size, as in the comparison, which is what stops methods that are bound to units.
    Far below, `f_k = tanh(-x_2 / 2) q_k(x)` with bowls q around (±7, -8). There a compromise has `x_1 ∈ [-7, 7]` and
    `½ (1 - c²) Q = 0.02 c (x_2 + 8)` with `c = tanh(-x_2 / 2)`, `Q = (49 - x_1²) / 10 + (x_2 + 8)² / 100 - 20`.

    Source: Navon et al. 2022, "Multi-Task Learning as a Bargaining Game", the illustrative example (its official code was read,
    the text was not at hand); it varies that of Liu et al. 2021, "Conflict-Averse Gradient Descent".
    Differs: the published figure draws the front at x_2 = -8.3552; here it is solved for.

    Example:
        >>> problem = NashToy()
        >>> problem.distance(torch.tensor([0.0, -8.3552], dtype=torch.float64)) < 0.02
        True
    """

    tasks = ("first", "second")
    starts = ((-8.5, 7.5), (0.0, 0.0), (9.0, 9.0), (-7.5, -0.5), (9.0, -1.0))
    least = (-2.1, -21.0)

    def losses(self, x: Float[Tensor, " d"]) -> dict[str, Float[Tensor, ""]]:
        """Logarithms of distances to ridges above, bowls below."""
        across, up = x[0], x[1]
        upper, lower = torch.tanh(0.5 * up).clamp_min(0.0), torch.tanh(-0.5 * up).clamp_min(0.0)
        ridges = (0.5 * (-across - 7) + torch.tanh(up), 0.5 * (-across + 3) - torch.tanh(up) + 2)
        found = []
        for ridge, side in zip(ridges, (7.0, -7.0), strict=True):
            above = ridge.abs().clamp_min(5e-6).log() + 6
            below = ((side - across).square() + 0.1 * (up + 8).square()) / 10 - 20
            found.append(upper * above + lower * below)
        return {"first": 0.1 * found[0], "second": found[1]}

    def distance(self, x: Float[Tensor, " d"]) -> float:
        """Distance to the curve of compromises."""
        return float(_to_path(x, self.front().to(x)))

    def front(self, number: int = 201) -> Float[Tensor, "p 2"]:
        """Points of the Pareto set, from one end to the other."""
        across = torch.linspace(-7, 7, number, dtype=torch.float64)
        low, high = torch.full_like(across, -9.0), torch.full_like(across, -8.0)
        for _ in range(60):
            up = (low + high) / 2
            c = torch.tanh(-0.5 * up)
            bowl = (49 - across.square()) / 10 + (up + 8).square() / 100 - 20
            rises = 0.02 * c * (up + 8) - 0.5 * (1 - c.square()) * bowl > 0  # derivative by x_2 of the weighted sum
            low, high = torch.where(rises, low, up), torch.where(rises, up, high)
        return torch.stack([across, (low + high) / 2], 1)


def _to_path(x: Tensor, path: Tensor) -> Any:
    """Distance of a point to the segments between points, one after the other."""
    start, along = path[:-1], path[1:] - path[:-1]
    share = (((x - start) * along).sum(1) / along.square().sum(1)).clamp(0, 1)
    return (x - start - share[:, None] * along).norm(dim=1).min()
