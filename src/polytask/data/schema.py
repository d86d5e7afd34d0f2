"""What a table's columns mean, as the user declares it or `infer_schema` proposes it."""

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, final, get_args

from polytask.errors import ConfigError, message, nearest

POOLINGS = ("mean", "sum", "max")


@final
@dataclass(frozen=True)
class Categorical:
    """One category a row: a text, an integer, a truth value.

    Ids are 0 for missing, 1 for never seen in training, 2 for rare, 3 and up for the dictionary by falling frequency. With
    `buckets`, ids come from a stable 64-bit hash instead: 0 for missing, 1 to `buckets`.

    When: codes and names. Prefer `buckets` where there are more than some millions of values or new ones keep coming; it needs
    no memory for names, but unlike values may share an id.

    Example:
        >>> Categorical("city", min_count=5)
        Categorical(name='city', min_count=5, max_size=None, buckets=None)

    Args:
        name: Column.
        min_count: Values seen less often share the rare id.
        max_size: At most so many values are kept, the most frequent; the others share the rare id.
        buckets: Number of hash buckets; no dictionary is made.

    Raises:
        ConfigError: If a number is not positive, or a dictionary option is given together with `buckets`.
    """

    kind: ClassVar[str] = "categorical"

    name: str
    min_count: int = 1
    max_size: int | None = None
    buckets: int | None = None

    def __post_init__(self) -> None:
        _check_dictionary(self)


@final
@dataclass(frozen=True)
class Numeric:
    """A quantity. Truth values count as 0 and 1, dates and times as seconds since 1970, durations as seconds.

    When: order and distance of values mean something. Codes that happen to be numbers are `Categorical`.

    Example:
        >>> Numeric("age").bins
        48

    Args:
        name: Column.
        bins: Most bins that the fitted boundaries may make.

    Raises:
        ConfigError: If `bins` is not positive.
    """

    kind: ClassVar[str] = "numeric"

    name: str
    bins: int = 48

    def __post_init__(self) -> None:
        _check_name(self)
        _check_positive(self, "bins")


@final
@dataclass(frozen=True)
class MultiValued:
    """Any number of categories a row, weighted or not: an Arrow list column, or text split by `separator`.

    When: tags, histories, words. A list that always has the same length and whose places differ in meaning is several columns.

    Example:
        >>> MultiValued("tags", separator="|").pooling
        'mean'

    Args:
        name: Column.
        weights: Parallel list column of numbers, one a value.
        separator: What splits a text column into values.
        weight_separator: What splits each value into category and weight, as ":" in "sport:0.5|art:2".
        min_count: Values seen less often share the rare id.
        max_size: At most so many values are kept, the most frequent; the others share the rare id.
        buckets: Number of hash buckets; no dictionary is made.
        max_length: Only so many values of each row are kept, from the front.
        pooling: How an encoder joins a row's values: "mean", "sum" or "max".

    Raises:
        ConfigError: If options contradict each other or a number is not positive.
    """

    kind: ClassVar[str] = "multi_valued"

    name: str
    weights: str | None = None
    separator: str | None = None
    weight_separator: str | None = None
    min_count: int = 1
    max_size: int | None = None
    buckets: int | None = None
    max_length: int | None = None
    pooling: str = "mean"

    def __post_init__(self) -> None:
        _check_dictionary(self)
        _check_positive(self, "max_length")
        if self.pooling not in POOLINGS:
            raise ConfigError(
                message(
                    f"Unknown pooling of {self.name!r}.", received=repr(self.pooling), way_out=nearest(self.pooling, POOLINGS)
                )
            )
        if self.weights is not None and self.weight_separator is not None:
            raise ConfigError(
                message(
                    f"Weights of {self.name!r} stand in a column or in the text, not both.",
                    received=f"weights={self.weights!r}, weight_separator={self.weight_separator!r}",
                )
            )
        for option in ("separator", "weight_separator"):
            if getattr(self, option) == "":
                raise ConfigError(message(f"{option!r} of {self.name!r} must not be empty.", received="''"))


Feature = Categorical | Numeric | MultiValued

FEATURES: dict[str, type[Categorical] | type[Numeric] | type[MultiValued]] = {kind.kind: kind for kind in get_args(Feature)}


@final
@dataclass(frozen=True)
class Schema:
    """The features of a table, and the columns of row weights and of groups.

    Example:
        >>> Schema((Categorical("city"), Numeric("age"))).names
        ('city', 'age')

    Args:
        features: The columns that are read, each once.
        weight: Column of non-negative row weights, not a feature.
        group: Column of the list, session or user that a row belongs to, for metrics of rankings; it may be a feature too.

    Raises:
        ConfigError: If a column is declared twice or the weight column is a feature too.
    """

    features: tuple[Feature, ...]
    weight: str | None = None
    group: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "features", tuple(self.features))
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise ConfigError(message("Each column is declared once.", received=f"{', '.join(map(repr, twice))} more than once"))
        if self.weight in self.names:
            raise ConfigError(
                message("The weight column is not a feature.", received=repr(self.weight), way_out="Remove it from the features.")
            )

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the features, in order."""
        return tuple(feature.name for feature in self.features)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of the table that encoding reads: features, their weights, row weights, groups."""
        own = [feature.weights for feature in self.features if isinstance(feature, MultiValued) and feature.weights]
        return tuple(dict.fromkeys([*self.names, *own, *(name for name in (self.weight, self.group) if name)]))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for TOML or JSON; options that are at their default are left out."""
        features = [feature_to_dict(feature) for feature in self.features]
        others = {"weight": self.weight, "group": self.group}
        return {"features": features} | {key: name for key, name in others.items() if name}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Schema":
        """The schema of `to_dict`.

        Raises:
            ConfigError: Names all unknown kinds and options at once.
        """
        unknown = set(values) - {"features", "weight", "group"}
        if unknown:
            raise ConfigError(
                message("Unknown key in the schema.", received=sorted(unknown), way_out="Valid: features, weight, group.")
            )
        return cls(tuple(features_from(values.get("features", ()))), weight=values.get("weight"), group=values.get("group"))


def feature_to_dict(feature: Feature) -> dict[str, Any]:
    """Kind, name and the options that differ from their default.

    Example:
        >>> feature_to_dict(Numeric("age", bins=8))
        {'kind': 'numeric', 'name': 'age', 'bins': 8}
    """
    options = {field.name: getattr(feature, field.name) for field in dataclasses.fields(feature) if field.name != "name"}
    defaults = {field.name: field.default for field in dataclasses.fields(feature)}
    changed = {name: value for name, value in options.items() if value != defaults[name]}
    return {"kind": feature.kind, "name": feature.name, **changed}


def features_from(tables: Iterable[Mapping[str, Any]]) -> list[Feature]:
    """Features of TOML or JSON tables with `kind`, `name` and options.

    Raises:
        ConfigError: Names all mistakes at once.
    """
    features: list[Feature] = []
    problems: list[str] = []
    for position, table in enumerate(tables):
        try:
            features.append(_feature(table, f"Feature {position + 1}"))
        except ConfigError as error:
            problems.append(str(error))
    if problems:
        raise ConfigError("\n".join(problems))
    return features


def _feature(table: Mapping[str, Any], place: str) -> Feature:
    kind, name = table.get("kind"), table.get("name")
    if kind not in FEATURES:
        raise ConfigError(message(f"{place} needs a kind.", received=repr(kind), way_out=nearest(str(kind), FEATURES)))
    if not isinstance(name, str):
        raise ConfigError(message(f"{place} needs the name of a column.", received=repr(name)))
    options = {key: value for key, value in table.items() if key not in ("kind", "name")}
    valid = {field.name for field in dataclasses.fields(FEATURES[kind])} - {"name"}
    for key in options:
        if key not in valid:
            raise ConfigError(message(f"Unknown option of feature {name!r}.", received=repr(key), way_out=nearest(key, valid)))
    return FEATURES[kind](name, **options)


def _check_name(feature: Feature) -> None:
    if not isinstance(feature.name, str) or not feature.name:
        raise ConfigError(message("A feature needs the name of a column.", received=repr(feature.name)))


def _check_positive(feature: Feature, option: str) -> None:
    value = getattr(feature, option)
    if value is None:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigError(message(f"{option!r} of {feature.name!r} must be a positive whole number.", received=repr(value)))


def _check_dictionary(feature: Categorical | MultiValued) -> None:
    _check_name(feature)
    for option in ("min_count", "max_size", "buckets"):
        _check_positive(feature, option)
    if feature.buckets is not None and (feature.max_size is not None or feature.min_count != 1):
        raise ConfigError(
            message(
                f"{feature.name!r} has hash buckets or a dictionary, not both.",
                received=f"buckets={feature.buckets}, min_count={feature.min_count}, max_size={feature.max_size}",
                way_out="Leave out `buckets`, or `min_count` and `max_size`.",
            )
        )
