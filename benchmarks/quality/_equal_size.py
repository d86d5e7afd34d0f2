"""Widths at which an architecture has a wanted number of parameters, whatever its options are called."""

import inspect
from collections.abc import Callable, Sequence
from typing import Any

from polytask.errors import PolytaskError
from polytask.heads import Heads
from polytask.sharing import SHARINGS
from polytask.tasks import Task

LEAST_WIDTH = 16
"""An option whose default holds numbers of this size or more only is a width: 128, (128,), ((128,), (128,)); not 8 experts."""
UNITS = (1, 2, 4, 8)
"""Widths are whole multiples of the first of these that the architecture takes (heads of attention divide its width)."""
TOLERANCE = 0.10


def numbers(value: Any) -> list[int]:
    """All numbers of an int or a nested sequence of them; empty where there is anything else."""
    if isinstance(value, int) and not isinstance(value, bool):
        return [value]
    if isinstance(value, tuple | list):
        parts = [numbers(part) for part in value]
        return [] if not all(parts) else [number for part in parts for number in part]
    return []


def widths(name: str) -> dict[str, Any]:
    """Options of an architecture that are widths, with their defaults."""
    defaults = {key: parameter.default for key, parameter in inspect.signature(SHARINGS[name]).parameters.items()}
    return {key: value for key, value in defaults.items() if numbers(value) and min(numbers(value)) >= LEAST_WIDTH}


def scaled(value: Any, factor: float, unit: int) -> Any:
    """The same nest with every number multiplied."""
    if isinstance(value, int):
        return max(unit, unit * round(value * factor / unit))
    return [scaled(part, factor, unit) for part in value]


def count(name: str, in_features: int, tasks: Sequence[Task], heads: dict, options: dict) -> int:
    """Parameters of sharing and heads."""
    sharing = SHARINGS[name](in_features, [task.name for task in tasks], **options)
    parts = (sharing, Heads(sharing.out_features, tasks, **heads))
    return sum(parameter.numel() for part in parts for parameter in part.parameters() if parameter.requires_grad)


def equal_size(name: str, in_features: int, tasks: Sequence[Task], heads: dict, wanted: int) -> tuple[dict, int]:
    """Options of the architecture nearest the wanted number of parameters, and the number reached.

    Raises:
        ValueError: If no widths come within 10 %.
    """
    refused = None
    for unit in UNITS:
        try:
            options, reached = _search(lambda o: count(name, in_features, tasks, heads, o), widths(name), unit, wanted)
        except PolytaskError as error:  # a width that its heads or subspaces do not divide
            refused = error
            continue
        if abs(reached / wanted - 1) <= TOLERANCE:
            return options, reached
        raise ValueError(f"{name} reaches {reached:,} parameters with {options}, not {wanted:,} within 10 %.")
    raise ValueError(f"{name} takes none of the widths that were tried.") from refused


def _search(size: Callable[[dict], int], defaults: dict, unit: int, wanted: int) -> tuple[dict, int]:
    def at(factor: float) -> tuple[dict, int]:
        options = {key: scaled(value, factor, unit) for key, value in defaults.items()}
        return options, size(options)

    low, high = 1e-3, 16.0
    for _ in range(24):
        middle = (low * high) ** 0.5
        low, high = (middle, high) if at(middle)[1] < wanted else (low, middle)
    return min(at(low), at(high), key=lambda found: abs(found[1] - wanted))
