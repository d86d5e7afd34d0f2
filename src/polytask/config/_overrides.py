"""`--set key=value`: one value of a configuration, changed from outside."""

import json
import tomllib
from collections.abc import Iterable
from typing import Any

from polytask.config._mistakes import Mistakes

_QUOTED = ("[", "{", '"', "'")
"""First characters of values that can be nothing but TOML: such a value is never taken as bare text."""


def override(table: dict[str, Any], settings: Iterable[str], mistakes: Mistakes) -> None:
    """Changes `table` in place by settings such as `balancer.name=pcgrad` or `task.click.weight=2`.

    A list of tables is addressed by position or by the name of its element. A value is TOML; text needs no quotes.

    Example:
        >>> table = {"task": [{"name": "click", "weight": 1.0}]}
        >>> override(table, ["task.click.weight=0.5", "balancer.name=equal"], Mistakes())
        >>> table
        {'task': [{'name': 'click', 'weight': 0.5}], 'balancer': {'name': 'equal'}}
    """
    for setting in settings:
        key, equals, text = setting.partition("=")
        if not equals:
            mistakes.add("--set", "An override has the form key=value.", repr(setting), "For example --set train.epochs=3.")
            continue
        try:
            path, value = _path(key.strip()), _value(text.strip())
        except tomllib.TOMLDecodeError as error:
            mistakes.add("--set", f"An override has the form key=value with a TOML value ({error}).", repr(setting))
            continue
        _assign(table, path, value, mistakes)


def _path(key: str) -> list[str]:
    nested: Any = tomllib.loads(f"{key} = 0")
    path = []
    while isinstance(nested, dict):
        ((name, nested),) = nested.items()
        path.append(name)
    return path


def _value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        if text.startswith(_QUOTED):
            raise
        return tomllib.loads(f"value = {json.dumps(text)}")["value"]


def _assign(table: dict[str, Any], path: list[str], value: Any, mistakes: Mistakes) -> None:
    here: Any = table
    for depth, key in enumerate(path[:-1]):
        place = ".".join(path[: depth + 1])
        here = _element(here, key, place, mistakes) if isinstance(here, list) else here.setdefault(key, {})
        if here is None:
            return
        if not isinstance(here, dict | list):
            mistakes.add(f"{place}.{path[depth + 1]}", "Only tables have keys.", f"{place} = {here!r}")
            return
    if isinstance(here, list):
        mistakes.add(
            ".".join(path), "An element of a list is changed key by key.", repr(value), f"--set {'.'.join(path)}.KEY=..."
        )
        return
    here[path[-1]] = value


def _element(items: list[Any], key: str, place: str, mistakes: Mistakes) -> Any:
    names = {str(item.get("name")): item for item in items if isinstance(item, dict)}
    if key in names:
        return names[key]
    if key.isdecimal() and int(key) < len(items):
        return items[int(key)]
    mistakes.unnamed(place, key, names, "element")
    return None
