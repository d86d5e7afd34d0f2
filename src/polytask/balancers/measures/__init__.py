"""Measures: where the gradients of tasks are compared, and at what cost."""

from collections.abc import Mapping
from typing import Any, Final

from polytask.balancers.measures._all_layers import AtAllLayers
from polytask.balancers.measures._base import Measure, Measured
from polytask.balancers.measures._junction import AtJunction
from polytask.balancers.measures._last_layer import AtLastLayer
from polytask.balancers.measures._parameters import AtParameters
from polytask.balancers.measures._sampled import Sampled
from polytask.balancers.measures._sketched import Sketched
from polytask.errors import ConfigError, message, nearest

MEASURES: dict[str, type[Measure]] = {
    "parameters": AtParameters,
    "last_layer": AtLastLayer,
    "all_layers": AtAllLayers,
    "sketched": Sketched,
    "sampled": Sampled,
    "junction": AtJunction,
}

DEFAULT_MEASURE: Final = "all_layers"
"""Of the measures that cost no pass through the trunk a task, the one nearest to the truth (`benchmarks/README.md`)."""


def build_measure(measure: str | Mapping[str, Any] | Measure) -> Measure:
    """A measure from its name, from a table of its options with the name among them, or as it is.

    Raises:
        ConfigError: If the name or an option is unknown.

    Example:
        >>> build_measure({"name": "sketched", "rank": 16}).rank
        16
    """
    if isinstance(measure, Measure):
        return measure
    options = {"name": measure} if isinstance(measure, str) else dict(measure)
    name = str(options.pop("name", ""))
    if name not in MEASURES:
        raise ConfigError(message("Unknown measure.", received=repr(name), way_out=nearest(name, MEASURES)))
    try:
        return MEASURES[name](**options)
    except TypeError:
        received = ", ".join(options)
        raise ConfigError(message(f"Measure {name!r} does not have these options.", received=received)) from None


__all__ = [
    "DEFAULT_MEASURE",
    "MEASURES",
    "AtAllLayers",
    "AtJunction",
    "AtLastLayer",
    "AtParameters",
    "Measure",
    "Measured",
    "Sampled",
    "Sketched",
    "build_measure",
]
