"""A JSON schema of declared runs, for editors that complete and check TOML."""

from typing import Any

from pydantic import BaseModel

from polytask.calibration import CALIBRATIONS
from polytask.config._families import FACTORIES, FAMILIES, Family
from polytask.config._methods import options_model
from polytask.config._sections import CalibrationSection, DataSection, FeaturesSection, TrainSection

Schema = dict[str, Any]


def json_schema() -> Schema:
    """The schema of a whole declared run, derived from the same signatures that check it.

    Example:
        >>> sorted(json_schema()["properties"]["sharing"])
        ['anyOf']
    """
    data = _of(DataSection)
    generator = {"anyOf": [{"enum": list(FAMILIES["data.generator"].members)}, _family(FAMILIES["data.generator"])]}
    data["properties"]["generator"] = generator
    properties: Schema = {"data": data, "features": _of(FeaturesSection)}
    properties |= {place: _family(FAMILIES[place]) for place in ("encoder", "sharing", "space", "bias", "balancer")}
    properties |= {place: {"type": "array", "items": _family(FAMILIES[place])} for place in ("task", "feature")}
    properties |= {place: _of(options_model(factory, supplied)) for place, (factory, supplied) in FACTORIES.items()}
    properties["calibration"] = _of(CalibrationSection)
    properties["calibration"]["properties"]["name"] |= {"enum": list(CALIBRATIONS)}
    properties["train"]["properties"] |= _of(TrainSection)["properties"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "A declared run of Polytask",
        "type": "object",
        "additionalProperties": False,
        "required": ["data", "task"],
        "properties": properties,
    }


def _family(family: Family) -> Schema:
    branches = []
    for name, factory in family.members.items():
        schema = _of(options_model(factory, family.supplied))
        schema["properties"] = {family.tag: {"const": name}} | schema.get("properties", {})
        if family.default != name:
            schema["required"] = [family.tag, *schema.get("required", [])]
        branches.append(schema)
    return {"anyOf": branches}


def _of(model: type[BaseModel]) -> Schema:
    schema = model.model_json_schema()
    definitions = schema.pop("$defs", {})
    return _inlined(schema, definitions)  # type: ignore[no-any-return]


def _inlined(value: Any, definitions: Schema) -> Any:
    """Replaces references by what they refer to: the pieces move to another root."""
    if isinstance(value, list):
        return [_inlined(item, definitions) for item in value]
    if not isinstance(value, dict):
        return value
    if "$ref" in value:
        return _inlined(definitions[value["$ref"].rpartition("/")[2]], definitions)
    return {key: _inlined(item, definitions) for key, item in value.items()}
