"""`polytask list`: what there is to choose from, read off the registries."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any

import typer

from polytask.cli._verb import Json, print_json

What = Annotated[
    str | None, typer.Argument(metavar="[FAMILY | NAME]", help="A family such as sharing, or a member such as mmoe.")
]
Schema = Annotated[bool, typer.Option("--schema", help="Print the JSON schema of declared runs, for editors.")]


def list_(what: What = None, *, json: Json = False, schema: Schema = False) -> None:
    """List tasks, encoders, sharing, balancers, calibrations, metrics and datasets; or show one of them with its keys."""
    from polytask.config import json_schema
    from polytask.errors import ConfigError, message, nearest

    if schema:
        print_json(json_schema())
        return
    families = _families()
    chosen = {what: families[what]} if what in families else families
    members = [(family, name) for family in families for name in families[family] if name == what]
    if what is None or what in families:
        _families_out(chosen, json)
    elif members:
        for family, name in members:
            _member_out(family, name, families[family][name], json)
    else:
        names = [*families, *(name for family in families.values() for name in family)]
        raise ConfigError(message("There is nothing of this name.", received=repr(what), way_out=nearest(what, names)))


def _families() -> dict[str, dict[str, Any]]:
    from polytask.calibration import CALIBRATIONS
    from polytask.config import FAMILIES
    from polytask.data.catalog import DATASETS
    from polytask.fusion import FUSIONS
    from polytask.metrics import METRICS
    from polytask.policies import ESTIMATORS

    families = {family.rpartition(".")[2]: dict(found.members) for family, found in FAMILIES.items()}
    return families | {
        "calibration": dict(CALIBRATIONS),
        "metric": dict(METRICS),
        "fusion": dict(FUSIONS),
        "estimator": dict(ESTIMATORS),
        "dataset": dict(DATASETS),
    }


def _families_out(families: dict[str, dict[str, Any]], json: bool) -> None:
    from polytask.cli._screen import show, table

    described = {family: {name: _description(member) for name, member in found.items()} for family, found in families.items()}
    if json:
        print_json(described)
        return
    for family, found in described.items():
        show(table(family, ["name", "what it is"], sorted(found.items())), "")


def _member_out(family: str, name: str, member: Any, json: bool) -> None:
    from polytask.cli._screen import show, table

    keys = _keys(family, member)
    text = inspect.getdoc(member) if callable(member) else _description(member)
    if json:
        print_json({"family": family, "name": name, "text": text, "keys": keys})
        return
    show(f"{family} {name}\n", (text or "").partition("\nArgs:")[0].strip(), "")
    if keys:
        rows = [(key, item["default"] if item["default"] is not None else "", item["text"]) for key, item in keys.items()]
        show(table("keys", ["key", "default", "what it is"], rows))


def _keys(family: str, member: Callable[..., Any]) -> dict[str, dict[str, Any]]:
    from polytask.config import FAMILIES, options_model

    place = next((place for place in FAMILIES if place.rpartition(".")[2] == family), None)
    if place is None:
        return {}
    fields = options_model(member, FAMILIES[place].supplied).model_fields
    return {
        name: {
            "default": "required" if field.is_required() else _plain(field.get_default(call_default_factory=True)),
            "text": field.description or "",
        }
        for name, field in fields.items()
    }


def _plain(value: Any) -> Any:
    return value if isinstance(value, int | float | str | bool | None) else str(value)


def _description(member: Any) -> str:
    from polytask.config import first_line

    return str(getattr(member, "description", None) or first_line(member))
