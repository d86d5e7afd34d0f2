"""Which columns of a table are inputs."""

from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase

from polytask.config import RunConfig, bias_columns
from polytask.data import FEATURES, Categorical, Feature, MultiValued, Schema, Table, propose_features
from polytask.errors import ConfigError, DataError, message, nearest


def bound_schema(config: RunConfig, table: Table) -> Schema:
    """The features that are declared and, where the user wants it, those that are inferred for the other columns.

    Raises:
        DataError: Names every declared column that the table does not have, with the nearest.
        ConfigError: If no column is left to be an input.
    """
    check_columns(config, table)
    of_bias = () if config.bias is None else bias_columns(config.bias)
    undeclared = [name for name in of_bias if name not in {feature.name for feature in config.declared}]
    own: tuple[Feature, ...] = (*config.declared, *(Categorical(name) for name in undeclared))
    declared = {feature.name: feature for feature in own}
    features: Sequence[Feature] = own
    reasons: list[str] = []
    if config.features is not None:
        free = _candidates(config, table)
        proposed = {item.name: item for item in propose_features(table, config.tasks)}
        inferred = {name: FEATURES[item.kind](name, **item.options) for name, item in proposed.items() if item.kind in FEATURES}
        reasons = [f"{name!r} is {proposed[name].reason}" for name in free if name not in inferred]
        features = [declared.get(name) or inferred[name] for name in free if name in declared or name in inferred]
        features += [feature for feature in own if feature.name not in free]
    if not features:
        way_out = "Declare [[feature]], or mend [features]."
        raise ConfigError(message("A run needs a feature.", received="; ".join(reasons[:9]) or "no column", way_out=way_out))
    return Schema(tuple(features), weight=config.data.weight, group=config.data.group)


def check_columns(config: RunConfig, table: Table) -> None:
    """Every column that the configuration names must be there.

    Raises:
        DataError: Names all that are not.
    """
    wanted = {f"task.{task.name}.label": task.label for task in config.tasks}
    wanted |= {f"feature.{feature.name}": feature.name for feature in config.declared}
    wanted |= {f"feature.{name}.weights": column for name, column in _list_weights(config.declared)}
    wanted |= {f"bias: {name}": name for name in (bias_columns(config.bias) if config.bias else ())}
    if config.data.weight is not None:
        wanted["data.weight"] = config.data.weight
    if config.data.group is not None:
        wanted["data.group"] = config.data.group
    if config.data.split is not None and config.data.split.column is not None:
        wanted["data.split.column"] = config.data.split.column
    if config.features is not None:
        names = (*config.features.include, *config.features.exclude)
        wanted |= {f"features: {name}": name for name in names if not any(sign in name for sign in "*?[")}
    missing = [
        f"\n  {place}: {name!r}. {nearest(name, table.names)}" for place, name in wanted.items() if name not in table.names
    ]
    if missing:
        raise DataError(f"{table.describe(0).partition(',')[0]} lacks columns that the run names:{''.join(missing)}")


def not_inputs(config: RunConfig) -> set[str]:
    """Columns that are something else than inputs: labels, weights, the column of the split."""
    others: set[str] = {task.label for task in config.tasks}
    others |= {column for _, column in _list_weights(config.declared)}
    others |= {config.data.weight} if config.data.weight is not None else set()
    if config.data.split is not None and config.data.split.by != "random" and config.data.split.column is not None:
        others.add(config.data.split.column)  # strata of a random split may well be an input
    return others


def missing_columns(names: Iterable[str], table: Table, *, what: str) -> None:
    """Refuses a table without the columns that a trained model reads.

    Raises:
        DataError: Names all that are missing, with the nearest.
    """
    missing = [f"\n  {name!r}. {nearest(name, table.names)}" for name in names if name not in table.names]
    if missing:
        raise DataError(f"{table.describe(0).partition(',')[0]} lacks {what}:{''.join(missing)}")


def _candidates(config: RunConfig, table: Table) -> list[str]:
    assert config.features is not None  # noqa: S101 - asked before
    include, exclude = config.features.include or ("*",), config.features.exclude
    others = not_inputs(config)
    return [name for name in table.names if name not in others and _matches(name, include) and not _matches(name, exclude)]


def _matches(name: str, patterns: Iterable[str]) -> bool:
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)


def _list_weights(features: Iterable[Feature]) -> list[tuple[str, str]]:
    return [(item.name, item.weights) for item in features if isinstance(item, MultiValued) and item.weights]
