"""A declared run for a table that nobody described."""

import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from polytask.data import FEATURES, Proposal, Table, open_table, propose_features, propose_tasks
from polytask.errors import ConfigError, DataError, message, nearest
from polytask.tasks import TASKS

_HEAD = """\
# Proposed for {source} by `polytask init`; look through it.
#
#   polytask check {name}     reads and binds everything, trains nothing
#   polytask train {name}     trains; the same command again goes on where it was interrupted

[data]
train = {source}
split = {{ by = "random", fractions = [0.8, 0.1, 0.1] }} # or by = "time" or "group" with a column; or valid = "other table"
"""
_TAIL = """
[sharing]
name = "mmoe" # polytask list sharing

[balancer]
name = "equal" # polytask list balancer

[train]
epochs = 10
batch_size = 1024
precision = "auto" # bfloat16 products where the processor has them
patience = 2 # validations without improvement
"""


def propose(source: str, *, out: Path, labels: Sequence[str] = ()) -> str:
    """The text of a declared run, with the reason of every proposal as a comment.

    Args:
        source: File, folder or glob of the table.
        out: Where the text will be written; paths in it are relative to there.
        labels: Columns that shall be predicted; proposed where empty.

    Raises:
        DataError: If the table cannot be read, or nothing in it can be predicted.
    """
    table = open_table(source)
    tasks, others = _tasks(table, labels)
    features = propose_features(table, [task.name for task in (*tasks, *others)])
    quoted = json.dumps(source if "://" in source else os.path.relpath(source, out.parent))
    parts = [_HEAD.format(source=quoted, name=out)]
    parts += [_element("task", task) for task in tasks]
    parts += [_left_out("task", item) for item in others]
    parts += [_element("feature", item) for item in features if item.kind in FEATURES]
    parts += [_left_out("feature", item) for item in features if item.kind not in FEATURES]
    return "".join(parts) + _TAIL


def _tasks(table: Table, labels: Sequence[str]) -> tuple[list[Proposal], list[Proposal]]:
    """What is predicted, and what looked like it but cannot be learnt."""
    unknown = [name for name in labels if name not in table.names]
    if unknown:
        hints = " ".join(nearest(name, table.names) for name in unknown)
        raise ConfigError(message("A task needs a column of the table.", received=", ".join(map(repr, unknown)), way_out=hints))
    found = propose_tasks(table, labels)
    tasks = [item for item in found if item.kind in TASKS]
    if not tasks:
        reasons = "; ".join(f"{item.name!r}: {item.reason}" for item in found) or "no column"
        raise DataError(message("No column can be predicted.", received=reasons, way_out="Name one with --task."))
    return tasks, [item for item in found if item.kind not in TASKS]


def _element(place: str, item: Proposal) -> str:
    lines = [f"\n[[{place}]] # {item.reason}", f"kind = {json.dumps(item.kind)}", f"name = {json.dumps(item.name)}"]
    if place == "task" and (name := re.sub(r"[^\w-]+", "_", item.name)) != item.name:
        lines[-1] = f"name = {json.dumps(name)}\nlabel = {json.dumps(item.name)}"
    return "\n".join([*lines, *_options(item.options)]) + "\n"


def _options(options: Mapping[str, Any]) -> Iterable[str]:
    return [f"{key} = {json.dumps(list(value) if isinstance(value, tuple) else value)}" for key, value in options.items()]


def _left_out(place: str, item: Proposal) -> str:
    return f"\n# no {place}: {json.dumps(item.name)}, {item.reason}\n"
