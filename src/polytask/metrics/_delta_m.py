"""What sharing did to all tasks at once."""

from collections.abc import Mapping

from polytask.errors import ConfigError, message, nearest
from polytask.metrics._base import Undefined

Values = Mapping[str, Mapping[str, float]]


def delta_m(values: Values, baseline: Values, *, greater_is_better: Mapping[str, bool]) -> float:
    """Mean relative *loss* against single-task models, in percent: below 0 is better than they are.

    `100/k sum_task 1/m sum_metric (-1)^g (value - baseline) / |baseline|`, g = 1 where greater is better: first the metrics of a
    task, then the tasks. This is the sign of Nash-MTL, FAMO and most tables since; Maninis et al. and LibMTL print its negative:
    `relative_gain`.

    It depends on where a metric has its zero: AUC .995 to .996 counts 0.1%, as an error it is 20%. Report values beside it.

    Source: Navon et al., Multi-Task Learning as a Bargaining Game (ICML 2022), section 5.
    Differs: the baseline's absolute value divides, so that a metric below 0 (R2) keeps its direction.

    Args:
        values: Metrics by task of the model that is judged.
        baseline: The same metrics of single-task models of the same backbone and budget.
        greater_is_better: Direction of each metric, by name.

    Raises:
        ConfigError: If a task or metric of one side is missing on the other, or a metric has no direction.

    Example:
        >>> delta_m({"click": {"auc": 0.75}}, {"click": {"auc": 0.5}}, greater_is_better={"auc": True})
        -50.0
    """
    _check(values, baseline, greater_is_better)
    if not values:
        return Undefined("no task")
    per_task = []
    for task, metrics in values.items():
        changes = []
        for name, value in metrics.items():
            base = baseline[task][name]
            if base == 0:
                return Undefined(f"the baseline's {name} of task {task!r} is 0")
            changes.append((-1 if greater_is_better[name] else 1) * (value - base) / abs(base))
        per_task.append(sum(changes) / len(changes))
    return 100 * sum(per_task) / len(per_task)


def relative_gain(values: Values, baseline: Values, *, greater_is_better: Mapping[str, bool]) -> float:
    """Mean relative *gain* over single-task models, in percent: above 0 is better. It is `-delta_m`.

    Source: Maninis, Radosavovic & Kokkinos, Attentive Single-Tasking of Multiple Tasks (CVPR 2019).

    Args:
        values: Metrics by task of the model that is judged.
        baseline: The same metrics of single-task models of the same backbone and budget.
        greater_is_better: Direction of each metric, by name.

    Raises:
        ConfigError: As `delta_m`.

    Example:
        >>> relative_gain({"click": {"auc": 0.75}}, {"click": {"auc": 0.5}}, greater_is_better={"auc": True})
        50.0
    """
    value = delta_m(values, baseline, greater_is_better=greater_is_better)
    return value if isinstance(value, Undefined) else -value


def _check(values: Values, baseline: Values, greater_is_better: Mapping[str, bool]) -> None:
    here, there = ({(task, name) for task, metrics in side.items() for name in metrics} for side in (values, baseline))
    if here != there:
        raise ConfigError(
            message("Both sides need the same tasks and metrics.", received=f"only on one side: {sorted(here ^ there)}")
        )
    empty = [task for task, metrics in values.items() if not metrics]
    if empty:
        raise ConfigError(message("Every task needs a metric.", received=f"none for {empty}"))
    for _, name in sorted(here):
        if name not in greater_is_better:
            raise ConfigError(message("Every metric needs a direction.", received=name, way_out=nearest(name, greater_is_better)))
