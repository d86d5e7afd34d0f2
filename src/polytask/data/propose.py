"""Proposes what could be predicted in a table that nobody described."""

from collections.abc import Collection

import numpy as np
import pyarrow.compute as pc

from polytask.data.formats import Table
from polytask.data.infer import LEFT_OUT, Proposal
from polytask.data.numbers import as_numbers
from polytask.data.profile import Profile, Value, profiles

_EVENTS = {
    *("click", "clicked", "buy", "bought", "purchase", "purchased", "conversion", "converted", "convert", "order", "ordered"),
    *("like", "liked", "share", "shared", "follow", "followed", "comment", "commented", "finish", "finished", "visit", "visited"),
    *("churn", "churned", "exited", "fraud", "default", "defaulted", "claim", "survived"),
}
_LABELS = {"label", "labels", "target", "targets", "y", "outcome", "response", "class"}
_SCALES = {"rating", "ratings", "stars", "score", "grade", "quality"}
_AMOUNTS = {"spend", "spent", "revenue", "dwell", "watch", "watchtime", "duration", "ltv", "gmv", "yield"}
_COUNTS = {"clicks", "views", "purchases", "conversions", "orders", "visits", "likes", "claims"}
_YES = ("yes", "y", "true", "t", "1", "positive", "pos", "clicked", "won")
_MOST_CLASSES = 50
_NAMED = {*_EVENTS, *_LABELS, *_SCALES, *_AMOUNTS, *_COUNTS}


def propose_tasks(table: Table, labels: Collection[str] = (), *, rows: int = 100_000) -> list[Proposal]:
    """Columns that look like labels, by name and content.

    A column is proposed if its name holds a word for an event ("click", "buy"), a label ("label", "target", "y"), a scale
    ("rating"), an amount ("watch_time") or a count ("clicks"), or begins with "is_" and holds two values. Where there is none,
    the last column is proposed. The kind follows from the values. Columns so named that cannot be learnt (constant, empty)
    are returned with kind "left out".

    Example:
        >>> import pyarrow as pa
        >>> from polytask.data import open_table
        >>> table = open_table(pa.table({"age": range(60), "is_click": [0, 1, 1] * 20, "buy": [0, 1, 0] * 20}))
        >>> for proposal in propose_tasks(table):
        ...     print(proposal.kind, proposal.name, "-", proposal.reason)
        binary is_click - named like an event; 0 and 1, 66.7 % ones
        binary buy - named like an event; 0 and 1, 33.3 % ones; 1 only where 'is_click' is 1: given = "is_click"?

    Args:
        table: Any table.
        labels: Columns that shall be predicted, whatever they are called; looked for where empty.
        rows: How many rows are looked at.

    Raises:
        DataError: If the table has no rows.
    """
    columns = profiles(table, rows=rows)
    if labels:
        found = [(column, "as you wish") for column in columns if column.name in labels]
    else:
        found = [(column, why) for column in columns if (why := _why(column))]
    if not labels and not any(_kind(column)[0] != LEFT_OUT for column, _ in found):
        found.append((columns[-1], "the last column; none is named like a label"))
    proposals = [_proposal(column, why) for column, why in found]
    flags = [item.name for item in proposals if item.kind == "binary" and "positive" not in item.options]
    return _with_spaces(proposals, flags, table, rows)


def _why(column: Profile) -> str:
    words = column.words()
    named = [word for word in words if word.rstrip("0123456789") in _NAMED]
    if (
        not words
        or words[-1] in ("id", "code", "type", "rate", "price", "name")
        or (named and column.kind in ("time", "list", "other"))
    ):
        return ""
    kinds = {"an event": _EVENTS, "a label": _LABELS, "a scale": _SCALES, "an amount": _AMOUNTS, "a count": _COUNTS}
    for what, group in kinds.items():
        if any(word.rstrip("0123456789") in group for word in named):
            return f"named like {what}"
    return "named like a question" if words[0] == "is" and column.num_distinct == 2 else ""


def _proposal(column: Profile, why: str) -> Proposal:
    kind, what, options = _kind(column)
    return Proposal(kind, column.name, f"{why}; {what}", options)


def _kind(column: Profile) -> tuple[str, str, dict[str, Value]]:
    number, words = column.num_distinct, set(column.words())
    if column.kind in ("time", "list", "other"):
        return LEFT_OUT, f"a {column.kind} cannot be predicted", {}
    if number < 2:
        return LEFT_OUT, "there is nothing to learn", {}
    if number == 2:
        return _binary(column)
    kind, what = "regression", f"numbers from {column.low:g} to {column.high:g}"
    if column.kind == "text":
        kind, what = ("multiclass" if number <= _MOST_CLASSES else LEFT_OUT), f"text with {number} distinct values"
    elif column.kind == "integer" and number <= _MOST_CLASSES and words & _SCALES:
        kind, what = "ordinal", f"{number} ordered grades"
    elif column.kind == "integer" and number <= _MOST_CLASSES and words & _LABELS:
        kind, what = "multiclass", f"{number} classes"
    elif column.kind == "integer" and column.low >= 0 and words & {*_COUNTS, *_EVENTS}:
        kind, what = "count", f"whole {what}"
    return kind, what, {}


def _binary(column: Profile) -> tuple[str, str, dict[str, Value]]:
    if column.is_flag:
        ones = column.counts[[int(value) for value in column.values].index(1)] / column.present
        return "binary", f"0 and 1, {100 * ones:.1f} % ones", {}
    yes = [value for value in column.values if str(value).strip().lower() in _YES]
    positive = yes[0] if len(yes) == 1 else column.values[-1]  # values come by falling count
    share = column.counts[column.values.index(positive)] / column.present
    return "binary", f"two values, {100 * share:.1f} % are {positive!r}", {"positive": positive}


def _with_spaces(proposals: list[Proposal], flags: list[str], table: Table, rows: int) -> list[Proposal]:
    """Says where one event never happens without another: then it may have that one as its sample space."""
    if len(flags) < 2:
        return proposals
    head = next(table.batches(flags, rows=rows))
    is_one = {name: as_numbers(pc.cast(head.column(name), "float64"), name) == 1 for name in flags}
    outer: dict[str, str] = {}
    for name in flags:
        wider = [
            other
            for other in flags
            if is_one[name].any() and is_one[other].sum() > is_one[name].sum() and not (is_one[name] & ~is_one[other]).any()
        ]
        if wider:
            outer[name] = min(wider, key=lambda other: int(np.count_nonzero(is_one[other])))
    notes = {name: f'; 1 only where {other!r} is 1: given = "{other}"?' for name, other in outer.items()}
    return [Proposal(item.kind, item.name, item.reason + notes.get(item.name, ""), item.options) for item in proposals]
