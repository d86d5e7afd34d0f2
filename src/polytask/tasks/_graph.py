"""How tasks refer to one another: sample spaces (`given`) and estimates that feed other tasks (`reads`)."""

from collections.abc import Iterator, Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

from polytask.errors import ConfigError, message, nearest
from polytask.metrics import METRICS, find_metric
from polytask.tasks._base import Task


def check_tasks(tasks: Sequence[Task]) -> None:
    """Checks tasks that are trained together.

    Raises:
        ConfigError: Lists every mistake: no task, none that is served, a name twice, an unknown or wrong `given`, `reads` or
            metric, a circle.

    Example:
        >>> from polytask.tasks import Binary
        >>> check_tasks([Binary("click"), Binary("buy", given="click")])
    """
    mistakes = list(_mistakes(tasks))
    if mistakes:
        raise ConfigError("\n".join(mistakes))


def given_chain(tasks: Sequence[Task], name: str) -> tuple[str, ...]:
    """Names of the tasks that must be 1 for a task to exist, the nearest first.

    Example:
        >>> from polytask.tasks import Binary
        >>> given_chain([Binary("view"), Binary("click", given="view"), Binary("buy", given="click")], "buy")
        ('click', 'view')

    Raises:
        ConfigError: Names an unknown task, or the circle.
    """
    given = {task.name: task.given for task in tasks}
    chain: list[str] = []
    following: str | None = name
    while following is not None:
        if following not in given:
            raise ConfigError(message("Unknown task.", received=repr(following), way_out=nearest(following, given)))
        if following in chain:
            raise ConfigError(_circle("given", [*chain[chain.index(following) :], following]))
        chain.append(following)
        following = given[following]
    return tuple(chain[1:])


def _mistakes(tasks: Sequence[Task]) -> Iterator[str]:
    by_name = {task.name: task for task in tasks}
    if all(task.auxiliary for task in tasks):
        yield message("A model needs a task that is served.", received=list(by_name), way_out="Add one that is not auxiliary.")
    for name in by_name:
        number = sum(task.name == name for task in tasks)
        if number > 1:
            yield message(
                "Task names must differ.", received=f"{name!r} {number} times", way_out="Set `name`, and `label` for the column."
            )
    for task in tasks:
        yield from _metric_mistakes(task)
        yield from _reference_mistakes(task, by_name)
    for edge, edges in (
        ("given", {task.name: [task.given] if task.given in by_name else [] for task in tasks}),
        ("reads", {task.name: [read for read in task.reads if read in by_name] for task in tasks}),
    ):
        yield from _cycle_mistakes(edge, edges)


def _reference_mistakes(task: Task, by_name: Mapping[str, Task]) -> Iterator[str]:
    for edge, names in (("given", [task.given] if task.given is not None else []), ("reads", task.reads)):
        for name in names:
            if name not in by_name:
                way_out = nearest(name, by_name.keys() - {task.name})
                yield message(f"Task {task.name!r}: `{edge}` must name a task.", received=repr(name), way_out=way_out)
    space = by_name.get(task.given or "")
    if space is not None and space.kind != "binary":
        received = f"{space.name!r}, which is {space.kind}"
        yield message(f"Task {task.name!r}: `given` must name a binary task.", received=received)


def _metric_mistakes(task: Task) -> Iterator[str]:
    fitting = [name for name, metric in METRICS.items() if task.kind in metric.kinds]
    for name in task.metrics:
        if not _is_metric(name, fitting):
            way_out = nearest(name.partition("@")[0], fitting)
            yield message(f"Task {task.name!r}: `metrics` must fit a {task.kind} task.", received=repr(name), way_out=way_out)
    first = METRICS.get(task.metrics[0].partition("@")[0])
    if first is not None and first.greater_is_better is None:
        expected = f"Task {task.name!r}: the first of `metrics` chooses the model, so it must have a direction."
        yield message(expected, received=repr(task.metrics[0]), way_out="Put another one first.")


def _is_metric(name: str, fitting: Sequence[str]) -> bool:
    """Whether it is one of those, or one with its number of ranks: `ndcg@10`."""
    if name.partition("@")[0] not in fitting:
        return False
    try:
        find_metric(name)
    except ConfigError:
        return False
    return True


def _cycle_mistakes(edge: str, edges: Mapping[str, Sequence[str | None]]) -> Iterator[str]:
    try:
        TopologicalSorter(edges).prepare()
    except CycleError as error:
        yield _circle(edge, list(reversed(error.args[1])))


def _circle(edge: str, names: Sequence[str]) -> str:
    return message(f"`{edge}` of tasks must not form a circle.", received=" -> ".join(names), way_out="Remove one edge.")
