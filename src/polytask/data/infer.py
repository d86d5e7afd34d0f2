"""Proposes what the columns of a table mean that nobody described."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, final

from polytask.data.formats import Table
from polytask.data.profile import Profile, profiles
from polytask.data.schema import FEATURES, Schema
from polytask.tasks import Task

LEFT_OUT = "left out"

# Whole numbers with so few distinct values cost an embedding almost nothing, and it can take any shape over them.
_FEW = 16
# Beyond, a dictionary of every value would mostly hold values seen once or twice.
_MANY = 10_000
_NOT_A_SAMPLE = 20  # rows; in fewer, that no value comes twice says nothing
_CODES = {
    "id",
    "ids",
    "uid",
    "gid",
    "sid",
    "code",
    "codes",
    "zip",
    "zipcode",
    "postcode",
    "category",
    "cat",
    "categorical",
    "type",
    "hash",
}
_TIMES = {"time", "timestamp", "ts", "date", "datetime", "day", "at"}
_EPOCHS = ((5e8, 4e9), (5e11, 4e12), (5e14, 4e15), (5e17, 4e18))  # 1985 to 2096 in s, ms, us, ns
_JOINED = re.compile(r"[^|]+(\|[^|]+)+")


@final
@dataclass(frozen=True)
class Proposal:
    """What one column may be, and why.

    Args:
        kind: Kind of feature or task, or "left out".
        name: Column.
        reason: One line for the user.
        options: Options of the feature or task.
    """

    kind: str
    name: str
    reason: str
    options: Mapping[str, Any] = field(default_factory=dict)


def infer_schema(table: Table, exclude: Iterable[str | Task] = (), *, rows: int = 100_000) -> Schema:
    """The features of a table nobody described: `propose_features` without what it leaves out.

    Example:
        >>> import pyarrow as pa
        >>> from polytask.data import open_table
        >>> table = open_table(pa.table({"city": ["Bern", "Rome"] * 50, "income": range(900, 1000), "buy": [0, 1] * 50}))
        >>> infer_schema(table, exclude=["buy"]).features
        (Categorical(name='city', min_count=1, max_size=None, buckets=None),)

    Args:
        table: Any table.
        exclude: Columns that are no features, or tasks whose labels are none.
        rows: How many rows are looked at.

    Raises:
        DataError: If the table has no rows.
    """
    found = propose_features(table, exclude, rows=rows)
    return Schema(tuple(FEATURES[item.kind](item.name, **item.options) for item in found if item.kind in FEATURES))


def propose_features(table: Table, exclude: Iterable[str | Task] = (), *, rows: int = 100_000) -> list[Proposal]:
    """What each column may be as a feature, by these rules, the first that fits.

    1. Left out: empty columns; constants; times (split by them, or declare them numeric); lists of fractions; text of which
       nine in ten values differ, and whole numbers that are all different and named like an id or count the rows.
    2. Multi-valued: lists; text of which most is joined by "|".
    3. Categorical: text; truth values; whole numbers (also written as floats) with at most 16 distinct values, or named like a
       code ("user_id", "zip", "type"). Above 10,000 distinct values, those seen once share the rare id.
    4. Numeric: all other numbers.

    Args:
        table: Any table.
        exclude: Columns that are no features, or tasks whose labels are none.
        rows: How many rows are looked at.

    Raises:
        DataError: If the table has no rows.
    """
    names = {item if isinstance(item, str) else item.label for item in exclude}
    return [_propose(profile) for profile in profiles(table, rows=rows) if profile.name not in names]


def _propose(profile: Profile) -> Proposal:
    few = f"{profile.num_distinct} distinct values"
    kind, reason = "categorical", _why_left_out(profile)
    options: dict[str, Any] = {}
    if reason:
        kind = LEFT_OUT
    elif profile.kind == "list":
        kind, reason = "multi_valued", "a list of categories"
    elif profile.kind == "text" and _share(profile, _JOINED) > 0.5:
        kind, reason, options = "multi_valued", "text joined by '|'", {"separator": "|"}
    elif profile.kind in ("text", "boolean"):
        reason = f"{'text' if profile.kind == 'text' else 'truth values'}, {few}{_hint(profile)}"
    elif profile.kind == "integer" and profile.num_distinct <= _FEW:
        reason = f"whole numbers, only {few}"
    elif profile.kind == "integer" and _CODES & set(profile.words()):
        reason = f"whole numbers named like a code, {few}"
    else:
        what = "whole numbers; declare it categorical if they are codes" if profile.kind == "integer" else "numbers"
        kind, reason = "numeric", f"{what}, from {profile.low:g} to {profile.high:g}"
    if kind == "categorical" and profile.num_distinct > _MANY:
        reason, options = f"{reason}; values seen once share an id", {"min_count": 2}
    return Proposal(kind, profile.name, reason, options)


def _why_left_out(profile: Profile) -> str:
    unique = profile.is_unique and profile.present > _NOT_A_SAMPLE
    counts_rows = profile.kind == "integer" and profile.high - profile.low + 1 == profile.present
    whole = profile.kind == "integer"
    reasons = {
        f"holds no value in the first {profile.rows} rows": profile.kind == "empty",
        "a time: split by it, or declare it numeric": profile.kind == "time" or (whole and _is_epoch(profile)),
        "lists of fractions cannot be categories": profile.kind == "list" and profile.inner == "number",
        "nested or binary values": profile.kind == "other",
        "constant": profile.num_distinct == 1 and profile.present == profile.rows,
        "an identifier or free text: nearly every row has its own value": (
            profile.kind == "text" and profile.present > _NOT_A_SAMPLE and profile.num_distinct > 0.9 * profile.present
        ),
        "an identifier: every row has its own number": whole and unique and (counts_rows or bool(_CODES & set(profile.words()))),
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _is_epoch(profile: Profile) -> bool:
    inside = any(low <= profile.low and profile.high <= high for low, high in _EPOCHS)
    return inside and bool(_TIMES & set(profile.words()))


def _share(profile: Profile, pattern: re.Pattern[str]) -> float:
    hits = sum(count for value, count in zip(profile.values, profile.counts, strict=True) if pattern.fullmatch(str(value)))
    return hits / profile.present


def _hint(profile: Profile) -> str:
    """Numbers spoilt by a few words are a frequent accident of text files."""
    if profile.kind != "text" or profile.num_distinct <= _FEW:
        return ""
    words = [value for value in profile.values if not _is_number(str(value))]
    if 0 < len(words) <= 3:
        return f"; numbers but for {', '.join(map(repr, words))}: is that `null_values`?"
    return ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
