"""How rates change over a training: a pure function of the step."""

import math
from collections.abc import Callable
from typing import Any, final

from polytask.errors import ConfigError, message, nearest
from polytask.optimizers._optimizer import Optimizer


def constant(_progress: float) -> float:
    """The rate stays; progress goes from 0 to 1 in all schedules."""
    return 1.0


def cosine(progress: float) -> float:
    """`(1 + cos(pi t)) / 2`: from the rate to 0. Source: Loshchilov and Hutter 2017, eq. 5, without restarts."""
    return 0.5 * (1 + math.cos(math.pi * progress))


def flat_cosine(progress: float) -> float:
    """The rate for the first half, then a cosine to 0. Source: `flat_cos` of RealMLP (Holzmüller et al. 2024)."""
    return cosine(max(0.0, 2 * progress - 1))


def cosine_cycles(progress: float) -> float:
    """`(1 - cos(2 pi log2(1 + 15 t))) / 2`: four cycles of growing length from 0 to 0. Source: `coslog4` of RealMLP."""
    return 0.5 * (1 - math.cos(2 * math.pi * math.log2(1 + 15 * progress)))


SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": constant,
    "cosine": cosine,
    "flat_cos": flat_cosine,
    "coslog4": cosine_cycles,
}


@final
class Schedule:
    """Sets every group's rate to its initial one times a factor of the step.

    Formula: `lr_step = lr min(1, (step + 1) / warmup) f((step - warmup) / (total - warmup))`, with f one of `SCHEDULES`.

    Prefer "cosine"; "constant" where nobody knows how long training will go on. After `total_steps` the factor stays at its end.

    Args:
        optimizer: Its rates are set, at once for the first step.
        total_steps: Steps of the whole training.
        kind: Name in `SCHEDULES`.
        warmup_steps: Steps over which the rate rises linearly.

    Raises:
        ConfigError: If `kind` is unknown, or the steps cannot be.
    """

    def __init__(self, optimizer: Optimizer, *, total_steps: int, kind: str = "cosine", warmup_steps: int = 0) -> None:
        if kind not in SCHEDULES:
            raise ConfigError(message("Unknown schedule.", received=repr(kind), way_out=nearest(kind, SCHEDULES)))
        if total_steps < 1 or warmup_steps < 0:
            received = f"total_steps = {total_steps}, warmup_steps = {warmup_steps}"
            raise ConfigError(message("A schedule needs at least one step, and no negative warm-up.", received=received))
        self.optimizer, self.kind, self.total_steps, self.warmup_steps = optimizer, kind, total_steps, warmup_steps
        self.num_steps = 0
        self._apply()

    def step(self) -> None:
        """Sets the rates for the next step."""
        self.num_steps += 1
        self._apply()

    def factor(self, step: int) -> float:
        """What the rate of a step is multiplied by; steps count from 0."""
        warmup = min(1.0, (step + 1) / self.warmup_steps) if self.warmup_steps else 1.0
        rest = max(1, self.total_steps - self.warmup_steps)
        return warmup * SCHEDULES[self.kind](min(1.0, max(0, step - self.warmup_steps) / rest))

    def state_dict(self) -> dict[str, Any]:
        """The step."""
        return {"num_steps": self.num_steps}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Goes on from a step."""
        self.num_steps = int(state["num_steps"])
        self._apply()

    def _apply(self) -> None:
        for group in self.optimizer.param_groups:
            group["lr"] = group["initial_lr"] * self.factor(self.num_steps)
