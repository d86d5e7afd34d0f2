"""Which validation was the best, and whether it is time to stop."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, final

from polytask.errors import ConfigError, message, nearest
from polytask.metrics import find_metric
from polytask.spaces import Joint
from polytask.tasks import Task

Metrics = Mapping[str, Mapping[str, float]]
"""Value of each metric of each task."""


@final
@dataclass(frozen=True)
class Best:
    """The best validation so far.

    Args:
        step: Optimizer steps done then.
        score: What it was judged by; greater is better (a metric of which less is better counts negative).
        metrics: All metrics of that validation.
    """

    step: int
    score: float
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)


@final
class Judge:
    """Keeps the best validation, of the whole and of each task, and counts those that brought nothing.

    Args:
        tasks: The tasks of the model, and joint ones; auxiliary and joint ones are not judged unless `main` names them.
        main: A task, `task.metric`, or None for all served tasks together: the mean over them of `log(first error / error)`,
            where the error is that of the task's first metric (1 - AUC, RMSE, ...) and the first one that of the first
            validation. So neither the unit of a metric nor the scale of a label decides which task is listened to.
        patience: Validations without improvement after which `stop` is true; None is never.
        per_task: Whether the best of each served task is kept too.

    Raises:
        ConfigError: If `main` names an unknown task or metric, or one without a direction.
    """

    def __init__(
        self, tasks: Sequence[Task | Joint], *, main: str | None = None, patience: int | None = None, per_task: bool = False
    ) -> None:
        served = (
            {task.name: task.metrics[0] for task in tasks if not task.auxiliary and task.metrics}
            if main is None or per_task
            else {}
        )
        self._watched: dict[str, dict[str, str]] = {"best": served if main is None else _watched(tasks, main)}
        if per_task:
            self._watched |= {f"best-{name}": {name: metric} for name, metric in served.items()}
        for watched in self._watched.values():
            for name, metric in watched.items():
                _sign(name, metric)
        self._patience = patience
        self._first: dict[str, float] = {}
        self.best: dict[str, Best] = {}
        self.waited = 0

    def score(self, metrics: Metrics) -> float:
        """What a validation is judged by, greater is better; NaN where nothing could be judged."""
        return self._score(self._watched["best"], metrics)

    def judge(self, step: int, metrics: Metrics) -> list[str]:
        """Takes a validation; names the checkpoints it is the best for ("best", "best-<task>")."""
        improved = []
        for name, watched in self._watched.items():
            score = self._score(watched, metrics)
            if math.isfinite(score) and (name not in self.best or score > self.best[name].score):
                self.best[name] = Best(step, score, {task: dict(found) for task, found in metrics.items()})
                improved.append(name)
        self.waited = 0 if "best" in improved else self.waited + 1
        return improved

    @property
    def stop(self) -> bool:
        """Whether patience has run out."""
        return self._patience is not None and self.waited >= self._patience

    def state_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {"best": {name: asdict(best) for name, best in self.best.items()}, "first": self._first, "waited": self.waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Takes up where another judge was."""
        self.best = {name: Best(**best) for name, best in state["best"].items()}
        self._first = dict(state["first"])
        self.waited = state["waited"]

    def _score(self, watched: Mapping[str, str], metrics: Metrics) -> float:
        """Greater is better; NaN where nothing could be judged. One metric is taken as it is."""
        values = {task: metrics.get(task, {}).get(metric, math.nan) for task, metric in watched.items()}
        present = {task: (watched[task], value) for task, value in values.items() if math.isfinite(value)}
        if len(watched) == 1:
            return next((_sign(task, metric) * value for task, (metric, value) in present.items()), math.nan)
        errors = {task: _error(metric, value) for task, (metric, value) in present.items()}
        gains = [math.log(self._first.setdefault(task, error) / error) for task, error in errors.items()]
        return math.fsum(gains) / len(gains) if gains else math.nan


def _watched(tasks: Sequence[Task | Joint], main: str) -> dict[str, str]:
    name, _, metric = main.partition(".")
    by_name = {task.name: task for task in tasks}
    if name not in by_name:
        raise ConfigError(message("`main` names an unknown task.", received=repr(main), way_out=nearest(name, by_name)))
    metrics = by_name[name].metrics
    if metric and metric not in metrics:
        raise ConfigError(
            message(f"`main` must name a metric of task {name!r}.", received=repr(main), way_out=nearest(metric, metrics))
        )
    return {name: metric or metrics[0]}


def _sign(task: str, metric: str) -> float:
    greater_is_better = find_metric(metric).greater_is_better
    if greater_is_better is None:
        raise ConfigError(
            message(
                f"Task {task!r} cannot be judged by a metric whose best value lies between.",
                received=repr(metric),
                way_out=f"Set `main` to another metric, or put another one first in the metrics of {task!r}.",
            )
        )
    return 1.0 if greater_is_better else -1.0


def _error(metric: str, value: float) -> float:
    """How far a metric is from its best value: 1 where greater is better (AUC, R2, accuracy), else 0. At least almost 0."""
    return max(1.0 - value if find_metric(metric).greater_is_better else value, 1e-12)
