"""Groups of tasks, as a user may write them."""

from collections.abc import Mapping, Sequence

from polytask.errors import ConfigError, message, nearest

Groups = Mapping[str, str] | Sequence[Sequence[str]]
"""The group of each task by name, or lists of tasks."""


def task_groups(groups: Groups, tasks: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Tasks of each group, by a name that does not depend on the order of anything: groups of several tasks first.

    Args:
        groups: The group of each task, or the tasks of each group; nothing puts all tasks into one.
        tasks: Names of the tasks.

    Raises:
        ConfigError: Names a task that is unknown, missing or in two groups.

    Example:
        >>> task_groups([["like"], ["click", "buy"]], ["click", "buy", "like"])
        {'buy+click': ('click', 'buy'), 'like': ('like',)}
        >>> task_groups({"click": "engagement", "buy": "engagement", "like": "social"}, ["click", "buy", "like"])
        {'engagement': ('click', 'buy'), 'social': ('like',)}
    """
    members = _members(groups, tasks)
    named = [task for group in members.values() for task in group]
    for task in named:
        if task not in tasks:
            raise ConfigError(message("A group holds an unknown task.", received=repr(task), way_out=nearest(task, tasks)))
    if sorted(named) != sorted(tasks):
        wrong = {task: f"{task!r} is in {named.count(task)}" for task in tasks if named.count(task) != 1}
        raise ConfigError(message("Each task is in one group.", received=", ".join(wrong.values())))
    ordered = {name: tuple(task for task in tasks if task in group) for name, group in members.items() if group}
    return dict(sorted(ordered.items(), key=lambda item: (len(item[1]) == 1, tasks.index(item[1][0]))))


def _members(groups: Groups, tasks: Sequence[str]) -> dict[str, list[str]]:
    if not groups:
        return {"all": list(tasks)}
    if isinstance(groups, Mapping):
        return {group: [task for task, other in groups.items() if other == group] for group in groups.values()}
    if isinstance(groups, str) or any(isinstance(group, str) for group in groups):
        way_out = 'Such as [["click", "buy"], ["like"]], or a table from task to group.'
        raise ConfigError(message("Groups are lists of tasks.", received=repr(groups), way_out=way_out))
    return {"+".join(sorted(group)): list(group) for group in groups}
