"""Preprocessing as JSON: readable, exact to the last bit, refused where it is damaged."""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from polytask.data.fields import CategoricalField, MultiValuedField, NumericField
from polytask.data.preprocess import Preprocessing
from polytask.data.vocabulary import Vocabulary
from polytask.errors import CheckpointError, PolytaskError, message
from polytask.files import replacing
from polytask.tasks import task_from_json, task_to_json

_FORMAT = "polytask preprocessing"
_VERSION = 1


def write_json(preprocessing: Preprocessing, path: str | os.PathLike[str]) -> None:
    """Writes the file whole or not at all."""
    with replacing(path) as scratch:
        scratch.write_text(json.dumps(to_json(preprocessing), indent=1))


def read_json(path: str | os.PathLike[str]) -> Preprocessing:
    """Reads what `write_json` wrote.

    Raises:
        CheckpointError: If the file is absent, damaged, something else, or of a later version.
    """
    place = f"The preprocessing {os.fspath(path)!r}"
    way_out = "Fit it again, or take the file that belongs to the run."
    try:
        values = json.loads(Path(path).read_text(encoding="utf8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(message(f"{place} must be a readable JSON file.", received=str(error), way_out=way_out)) from None
    if not isinstance(values, dict) or values.get("format") != _FORMAT:
        received = values.get("format") if isinstance(values, dict) else type(values).__name__
        raise CheckpointError(message(f"{place} must be of format {_FORMAT!r}.", received=repr(received), way_out=way_out))
    if values.get("version") != _VERSION:
        received = f"version {values.get('version')!r}"
        raise CheckpointError(
            message(f"{place} must have version {_VERSION}.", received=received, way_out="Use the Polytask that wrote it.")
        )
    try:
        return from_json(values)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        received = str(error) if isinstance(error, PolytaskError) else repr(error)
        raise CheckpointError(message(f"{place} is damaged.", received=received, way_out=way_out)) from None


def digest(preprocessing: Preprocessing) -> str:
    """Hash of the content."""
    text = json.dumps(to_json(preprocessing), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def to_json(preprocessing: Preprocessing) -> dict[str, Any]:
    """Plain values; Python writes floats with as many digits as give them back."""
    return {
        "format": _FORMAT,
        "version": _VERSION,
        "categorical": [_with_vocabulary(field) for field in preprocessing.categorical],
        "numeric": [asdict(field) for field in preprocessing.numeric],
        "multi_valued": [_with_vocabulary(field) for field in preprocessing.multi_valued],
        "tasks": [task_to_json(task) for task in preprocessing.tasks],
        "weight": preprocessing.weight,
    } | ({} if preprocessing.group is None else {"group": preprocessing.group})


def from_json(values: Mapping[str, Any]) -> Preprocessing:
    """The preprocessing of `to_json`.

    Raises:
        KeyError, TypeError, ValueError: If a part is absent, unknown or of a wrong type.
    """
    return Preprocessing(
        tuple(CategoricalField(row["name"], _vocabulary(row["vocabulary"])) for row in values["categorical"]),
        tuple(_numeric(row) for row in values["numeric"]),
        tuple(MultiValuedField(**{**row, "vocabulary": _vocabulary(row["vocabulary"])}) for row in values["multi_valued"]),
        tuple(task_from_json(row) for row in values["tasks"]),
        values["weight"],
        values.get("group"),
    )


def _with_vocabulary(field: CategoricalField | MultiValuedField) -> dict[str, Any]:
    # dataclasses.asdict would copy millions of values one by one.
    options = {key: value for key, value in vars(field).items() if key != "vocabulary"}
    vocabulary = field.vocabulary
    return {
        **options,
        "vocabulary": {
            "kind": vocabulary.kind,
            "values": list(vocabulary.values),
            "rare": None if vocabulary.rare is None else list(vocabulary.rare),
            "buckets": vocabulary.buckets,
        },
    }


_TYPES: dict[str, type] = {"boolean": bool, "integer": int, "number": float, "text": str}


def _vocabulary(row: Mapping[str, Any]) -> Vocabulary:
    wanted = _TYPES[row["kind"]]
    values, rare = tuple(row["values"]), None if row["rare"] is None else tuple(row["rare"])
    wrong = [value for value in (*values, *(rare or ())) if type(value) is not wanted]
    if wrong:
        raise ValueError(message(f"Categories must be of kind {row['kind']}.", received=repr(wrong[0])))
    if len(set(values)) != len(values):
        raise ValueError(message("Categories must differ.", received="one twice"))
    return Vocabulary(row["kind"], values, rare, row["buckets"])


def _numeric(row: Mapping[str, Any]) -> NumericField:
    field = NumericField(row["name"], float(row["center"]), float(row["scale"]), tuple(map(float, row["edges"])))
    rising = all(low < high for low, high in zip(field.edges, field.edges[1:], strict=False))
    if not (field.scale > 0 and rising and len(field.edges) > 1):
        raise ValueError(message("A numeric field needs a positive scale and rising edges.", received=repr(row["name"])))
    return field
