"""Tasks as JSON: their kind and their fields; read back exactly."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from polytask.errors import ConfigError, message, nearest
from polytask.tasks._base import Task


def task_to_json(task: Task) -> dict[str, Any]:
    """A task as JSON values: its kind, and every field.

    Example:
        >>> from polytask.tasks import Binary
        >>> task_to_json(Binary("buy", given="click"))["kind"]
        'binary'
    """
    values = {field.name: getattr(task, field.name) for field in fields(task)}
    return {"kind": task.kind} | {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def task_from_json(values: Mapping[str, Any]) -> Task:
    """The task that `task_to_json` wrote; fields that are not there have their defaults.

    Raises:
        ConfigError: If the kind or a field is unknown, or a field has a value it cannot have.

    Example:
        >>> task_from_json({"kind": "multiclass", "name": "device", "classes": ["phone", "desktop"]}).classes
        ('phone', 'desktop')
    """
    from polytask.tasks import TASKS  # noqa: PLC0415 - the registry imports the members

    kind = str(values.get("kind"))
    if kind not in TASKS:
        raise ConfigError(message("Unknown kind of task.", received=repr(kind), way_out=nearest(kind, TASKS)))
    known = [field.name for field in fields(TASKS[kind])]
    given = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items() if key != "kind"}
    for key in given:
        if key not in known:
            raise ConfigError(message(f"Unknown key of a {kind} task.", received=repr(key), way_out=nearest(key, known)))
    if "name" not in given:
        raise ConfigError(message(f"A {kind} task needs a name.", received=dict(values)))
    make: Callable[..., Task] = TASKS[kind]
    try:
        return make(**given)
    except TypeError as error:
        raise ConfigError(
            message(f"A {kind} task cannot be made of these values.", received=given, way_out=f"{error}.")
        ) from None
