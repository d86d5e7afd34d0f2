"""Binds the tables of a declared run to the things they name."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import create_model

from polytask.config._calibration import bind_calibration
from polytask.config._checks import check_data, check_names
from polytask.config._config import RunConfig
from polytask.config._families import FACTORIES, FAMILIES
from polytask.config._methods import Method, options_model
from polytask.config._sections import DataSection, FeaturesSection, TrainSection
from polytask.config._tables import Table, Tables, plain
from polytask.config._trial import check_precision, try_bias, try_methods, try_space
from polytask.data import Csv
from polytask.train import Plan

KNOWN = (
    *("data", "task", "feature", "features", "encoder", "sharing", "heads", "space", "bias"),
    *("balancer", "optimizer", "schedule", "train", "calibration"),
)
"""Tables of a declared run."""


def bind(tables: Tables, folder: Path, source: Path | None) -> RunConfig | None:
    """Gives the bound run, or None where there are mistakes.

    Args:
        tables: What was declared.
        folder: What relative paths are relative to.
        source: File it was read from.
    """
    for key in tables.written.keys() - set(KNOWN):
        tables.mistakes.unknown(key, tables.written[key], KNOWN)
    data, generator, csv = _data(tables, folder)
    tasks, declared = _elements(tables, "task"), _elements(tables, "feature")
    features = _features(tables, declared)
    methods = {family: _method(tables, family) for family in ("encoder", "sharing", "space", "balancer")}
    bias = _method(tables, "bias") if "bias" in tables.written else None
    options = {place: _options(tables, place) for place in ("heads", "optimizer", "schedule")}
    train, plan = _train(tables)
    check_names(tables, tasks, declared)
    names = [name for item in tables.items("task") if isinstance(name := item.get("name"), str)]
    if len(tasks) == len(names):
        names = try_space(methods["space"], tasks, tables.mistakes)
        try_bias(bias, tasks, tables.mistakes)
    try_methods(methods | options, names, tables.mistakes)
    calibration = bind_calibration(tables, tasks, data)
    check_precision(tables.get("train").get("precision"), tables.mistakes)
    if tables.mistakes.found or data is None or train is None or plan is None:
        return None
    found: dict[str, Any] = methods | options
    return RunConfig(
        data=data,
        generator=generator,
        csv=csv,
        tasks=tuple(tasks),
        declared=tuple(declared),
        features=features,
        bias=bias,
        train=train,
        plan=plan,
        calibration=calibration,
        resolved=tables.resolved,
        source=source,
        notes=tuple(tables.notes),
        **found,
    )


def _method(tables: Tables, family: str) -> Method | None:
    method = tables.method(family, tables.get(family))
    if method is not None:
        tables.resolved[family] = plain(method.table())
    return method


def _options(tables: Tables, place: str) -> Table | None:
    options = tables.factory(place)
    if options is not None:
        tables.resolved[place] = plain(options)
    return options


def _data(tables: Tables, folder: Path) -> tuple[DataSection | None, Method | None, Csv | None]:
    table = tables.get("data")
    made, written = table.pop("generator", None), table.pop("csv", None)
    data = tables.section("data", DataSection, table)
    generator = None if made is None else _generator(tables, made)
    csv = None if written is None else _csv(tables, written)
    if data is None:
        return None, generator, csv
    check_data(data, made is not None, tables.mistakes)
    data = data.model_copy(
        update={key: _absolute(path, folder) for key in ("train", "valid", "test", "cache") if (path := getattr(data, key))}
    )
    tables.resolved["data"] = data.table()
    if generator is not None:
        tables.resolved["data"]["generator"] = plain(generator.table())
    if csv is not None:
        tables.resolved["data"]["csv"] = plain(asdict(csv))
    return data, generator, csv


def _generator(tables: Tables, written: Any) -> Method | None:
    if not isinstance(written, str | dict):
        tables.mistakes.add("data.generator", "Should be a name or a table.", repr(written))
        return None
    method = tables.method("data.generator", {"name": written} if isinstance(written, str) else dict(written))
    if method is not None:
        with tables.mistakes.noting("data.generator"):
            FAMILIES["data.generator"].members[method.name](**method.options)
    return method


def _csv(tables: Tables, written: Any) -> Csv | None:
    if not isinstance(written, dict):
        tables.mistakes.add("data.csv", "Should be a table: [data.csv].", repr(written))
        return None
    options = tables.factory("data.csv", written)
    if options is not None:
        with tables.mistakes.noting("data.csv"):
            return Csv(**options)
    return None


def _train(tables: Tables) -> tuple[TrainSection | None, Plan | None]:
    """One table for the user: the keys of the training plan, and those of the run around it."""
    plan_keys = options_model(*FACTORIES["train"])
    own: dict[str, Any] = {name: (item.annotation, item) for name, item in TrainSection.model_fields.items()}
    both = create_model("Train", __base__=plan_keys, **own)

    bound = tables.section("train", both)
    if bound is None:
        return None, None
    tables.resolved["train"] = bound.model_dump(mode="json", exclude_none=True)
    with tables.mistakes.noting("train"):
        plan = Plan(**bound.model_dump(include=set(plan_keys.model_fields)))
        return TrainSection(**bound.model_dump(include=set(TrainSection.model_fields))), plan
    return None, None


def _absolute(path: str, folder: Path) -> str:
    return path if "://" in path else str((folder / Path(path).expanduser()).absolute())


def _features(tables: Tables, declared: list[Any]) -> FeaturesSection | None:
    """Columns are inferred where the user says so, and where no feature is declared."""
    if declared and "features" not in tables.written:
        return None
    features = tables.section("features", FeaturesSection)
    if features is not None:
        tables.resolved["features"] = features.table()
    return features


def _elements(tables: Tables, place: str) -> list[Any]:
    """Elements of a list of tables, each made by the class that its `kind` names."""
    made, resolved = [], []
    for index, item in enumerate(tables.items(place)):
        here = f"{place}.{item.get('name', index)}"
        method = tables.method(place, item, here)
        if method is None:
            continue
        resolved.append({"kind": method.name} | plain(method.options))
        with tables.mistakes.noting(here):
            made.append(FAMILIES[place].members[method.name](**method.options))
    if resolved:
        tables.resolved[place] = resolved
    return made
