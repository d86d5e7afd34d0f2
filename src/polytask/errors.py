"""Errors that say what was expected, what was received, and a way out."""

import difflib
from collections.abc import Callable, Iterable


class PolytaskError(ValueError):
    """A mistake that the user can mend; its message names the place and a way out."""


class ConfigError(PolytaskError):
    """A declared run that cannot be bound: unknown key, unknown name, contradiction."""


class DataError(PolytaskError):
    """A table, column, row or label that cannot be used."""


class CheckpointError(PolytaskError):
    """A checkpoint that is damaged or belongs to another run."""


class DivergenceError(PolytaskError):
    """A loss that stopped being a number."""


Where = Callable[[int], str]
"""Names a row by its number: "row 17", or the file and the row in it; for messages."""


def row_of(row: int) -> str:
    """A row of a table that is whole.

    Example:
        >>> row_of(17)
        'row 17'
    """
    return f"row {row}"


def message(expected: str, *, received: object, way_out: str = "") -> str:
    """Joins the three parts that every error message of Polytask has.

    Example:
        >>> print(message("Column 'age' must be numeric.", received="'abc' in row 3", way_out="Declare it categorical."))
        Column 'age' must be numeric. Received: 'abc' in row 3. Declare it categorical.
    """
    return f"{expected} Received: {received}. {way_out}".rstrip()


def nearest(name: str, options: Iterable[str]) -> str:
    """A sentence that proposes the valid name closest to a wrong one, or lists what is valid.

    Example:
        >>> nearest("mmoo", ["mmoe", "ple"])
        "Did you mean 'mmoe'?"
        >>> nearest("zzz", ["mmoe", "ple"])
        "Valid: 'mmoe', 'ple'."
    """
    names = sorted(set(options))
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"Did you mean {close[0]!r}?"
    return f"Valid: {', '.join(map(repr, names))}." if names else "There is none to choose from."
