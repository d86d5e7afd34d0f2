"""The file of a fusion: readable, edited by people, refused with every mistake at once."""

import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from polytask.errors import ConfigError, message, nearest
from polytask.files import replacing
from polytask.fusion._base import Fusion, Mistake

_FORMAT = "polytask fusion"
_VERSION = 1
_KEYS = ("format", "version", "name", "weights", "options")


def write_fusion(fusion: Fusion, path: str | Path) -> None:
    """Writes the file whole or not at all."""
    with replacing(path) as scratch:
        scratch.write_text(json.dumps(fusion_to_json(fusion), indent=2, ensure_ascii=False) + "\n", encoding="utf8")


def fusion_to_json(fusion: Fusion) -> dict[str, Any]:
    """Plain values.

    Example:
        >>> from polytask.fusion import WeightedSum
        >>> fusion_to_json(WeightedSum({"click": 0.5}))["weights"]
        {'click': 0.5}
    """
    head = {"format": _FORMAT, "version": _VERSION, "name": fusion.name, "weights": dict(fusion.weights)}
    return head | ({"options": fusion.options} if fusion.options else {})


def read_fusion(path: str | Path) -> Fusion:
    """Reads a file.

    Raises:
        ConfigError: Names the file, and every key that is unknown, absent or has a value that cannot be used.
    """
    place = str(path)
    try:
        text = Path(path).read_text(encoding="utf8")
        values = json.loads(text, object_pairs_hook=_once)
    except OSError as error:
        raise ConfigError(message(f"{place} must be a file of weights.", received=error.strerror or str(error))) from None
    except ValueError as error:
        way_out = "Mend the file; `polytask fuse --search` writes one."
        raise ConfigError(message(f"{place} must be JSON.", received=str(error), way_out=way_out)) from None
    return fusion_from_json(values, place=place)


def fusion_from_json(values: Any, *, place: str = "The fusion") -> Fusion:
    """The fusion of `fusion_to_json`.

    Args:
        values: Plain values.
        place: What messages call it.

    Raises:
        ConfigError: Names every key that is unknown, absent or has a value that cannot be used.
    """
    if not isinstance(values, Mapping):
        raise ConfigError(message(f"{place} must hold an object.", received=type(values).__name__))
    mistakes = list(_mistakes(values))
    if mistakes:
        count = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        raise ConfigError(f"{place} has {count}:" + "".join(f"\n  {key}: {text}" for key, text in mistakes))
    return _registry()[values["name"]](_floats(values["weights"]), **_floats(values.get("options", {})))


def _mistakes(values: Mapping[str, Any]) -> Iterator[Mistake]:
    for key in values:
        if key not in _KEYS:
            yield key, message("There is no such key.", received=repr(values[key]), way_out=nearest(key, _KEYS))
    for key, wanted in (("format", _FORMAT), ("version", _VERSION)):
        if values.get(key) != wanted:
            yield key, message(f"It must be {wanted!r}.", received=repr(values.get(key, "nothing")))
    name, weights, options = values.get("name"), values.get("weights"), values.get("options", {})
    members = _registry()
    if not isinstance(options, Mapping):
        yield "options", message("Options are values by name.", received=repr(options))
        options = {}
    if not isinstance(name, str) or name not in members:
        received = repr(name) if "name" in values else "nothing"
        yield "name", message("There is no such fusion.", received=received, way_out=nearest(str(name), members))
        name, options = "weighted_sum", {}  # its weights can be looked at all the same
    valid = [key for key in inspect.signature(members[name]).parameters if key != "weights"]
    for key in options:
        if key not in valid:
            text = message(f"{name!r} has no such option.", received=repr(options[key]), way_out=nearest(key, valid))
            yield f"options.{key}", text
    known = _defaults(members[name]) | {key: value for key, value in options.items() if key in valid}
    yield from members[name].mistakes({} if weights is None else weights, known)


def _defaults(member: type[Fusion]) -> dict[str, Any]:
    return {key: item.default for key, item in inspect.signature(member).parameters.items() if key != "weights"}


def _floats(value: Any) -> Any:
    """With numbers as people write them (1) as floats."""
    if isinstance(value, Mapping):
        return {key: _floats(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_floats(item) for item in value]
    return float(value) if isinstance(value, int) else value


def _once(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """An object; a key that is there twice would silently lose a value."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [key for key, _ in pairs]
        raise ValueError("key " + ", ".join(sorted({repr(name) for name in names if names.count(name) > 1})) + " twice")
    return found


def _registry() -> Mapping[str, type[Fusion]]:
    from polytask.fusion import FUSIONS  # noqa: PLC0415 - the registry imports the members

    return FUSIONS
