"""Reads and binds everything that a run needs, and says what it found; trains nothing."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float

from polytask.config import RunConfig
from polytask.data import Columns, Loader, Preprocessing, Rows
from polytask.metrics import auc
from polytask.model import MultiTaskModel, describe_model
from polytask.run._build import build_balancer, build_model, build_update
from polytask.run._prepare import Prepared, cache_folder, prepare
from polytask.spaces import Space
from polytask.tasks import Task

_LOOKED_AT = 131_072
"""Rows that leakage is looked for in: a feature that gives a label away does so on any rows."""
_GIVES_AWAY = 0.999
"""AUC of a single feature from which it is suspected to be the label in other words."""
_LEAST = 50
"""Labelled rows of either outcome that such a suspicion needs."""


def check(config: RunConfig, directory: Path | None = None) -> dict[str, Any]:
    """Opens, fits, encodes and builds what a configuration names, so that `train` will not stop over it.

    Args:
        config: What was declared.
        directory: Directory of the run to come: encoded rows are kept beside it, and `train` takes them from there.

    Returns:
        `tasks`, `features`, `rows`, `model` and `warnings` as plain values.

    Raises:
        DataError: If a table cannot be used.
        ConfigError: If what was declared cannot be built.
    """
    prepared = prepare(config, cache_folder(config, directory or Path("runs") / "check"))
    preprocessing = prepared.preprocessing
    model = build_model(config, preprocessing)
    balancer = build_balancer(config, [task.name for task in model.tasks])
    build_update(config, model, balancer, 1)
    return {
        "rows": {part: len(rows) for part, rows in prepared.rows.items()},
        "tasks": _tasks(preprocessing, prepared.rows, model.space),
        "features": _features(preprocessing),
        "model": _model(model, prepared),
        "warnings": [*_constant(preprocessing, prepared.rows["train"]), *_leaks(preprocessing, prepared.rows["train"])],
    }


def _tasks(preprocessing: Preprocessing, rows: Any, space: Space) -> list[dict[str, Any]]:
    """The declared tasks, then the heads that the space adds, which have no column of labels."""
    counts = {part: _labelled(preprocessing, found) for part, found in rows.items()}
    lines = [
        {"task": task.name, "kind": task.kind, "label": task.label, "given": task.given, "served": not task.auxiliary}
        | {f"labelled {part}": found[task.name] for part, found in counts.items()}
        | {"without features": _without_features(task)}
        for task in preprocessing.tasks
    ]
    added = space.tasks[len(space.declared) :]
    return lines + [dict.fromkeys(lines[0]) | {"task": task.name, "kind": task.kind, "served": False} for task in added]


def _labelled(preprocessing: Preprocessing, rows: Rows) -> dict[str, int]:
    counts = dict.fromkeys((task.name for task in preprocessing.tasks), 0)
    for batch in Loader(rows, preprocessing.tasks, batch_size=65_536, shuffle=False, prefetch=0):
        for name, labels in batch.labels.items():
            counts[name] += labels.count
    return counts


def _without_features(task: Task) -> Any:
    """What one would predict knowing nothing of a row: base rate, mean, rate; shares or quantiles."""
    output = torch.tensor([task.initial_bias()], dtype=torch.float32)
    values = [round(value, 6) for value in task.predict(output).flatten().tolist()]
    return values[0] if len(values) == 1 else " ".join(f"{value:.3g}" for value in values[:8])


def _features(preprocessing: Preprocessing) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"feature": field.name, "kind": "categorical", "ids": field.size, "bins": None} for field in preprocessing.categorical
    ]
    found += [
        {"feature": field.name, "kind": "numeric", "ids": None, "bins": len(field.edges) - 1} for field in preprocessing.numeric
    ]
    return found + [
        {"feature": field.name, "kind": "multi_valued", "ids": field.size, "bins": None} for field in preprocessing.multi_valued
    ]


def _model(model: MultiTaskModel, prepared: Prepared) -> list[dict[str, Any]]:
    """Size and work of each part, and the share of its parameters that belongs to single tasks."""
    features = prepared.rows["train"].read(slice(0, 64)).to_batch(()).features
    return [
        {"part": part.name, "parameters": part.parameters, "flops a row": part.flops}
        | {"private": round(sum(part.private.values()) / max(part.parameters, 1), 4), "junction": _junction(part.junction)}
        for part in describe_model(model, features)
    ]


def _junction(num_places: int | None) -> str | None:
    """Where tasks part: at how many places, or that nothing is shared."""
    return None if num_places is None else f"{num_places} place{'s' * (num_places > 1)}" if num_places else "none"


def _constant(preprocessing: Preprocessing, rows: Rows) -> Iterator[str]:
    """Single-valued features that are the same in every training row."""
    names = [*(field.name for field in preprocessing.categorical), *(field.name for field in preprocessing.numeric)]
    low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    for start in range(0, len(rows), _LOOKED_AT):
        columns = rows.read(slice(start, start + _LOOKED_AT))
        numeric = np.nan_to_num(columns.numeric, nan=float(np.finfo(np.float32).min))  # a missing value is a value of its own
        low = np.minimum(low, np.concatenate([columns.categorical.min(0), numeric.min(0)]))
        high = np.maximum(high, np.concatenate([columns.categorical.max(0), numeric.max(0)]))
    for name in np.array(names)[low == high].tolist():
        yield f"feature {name!r} is the same in every training row: it teaches nothing."


def _leaks(preprocessing: Preprocessing, rows: Rows) -> Iterator[str]:
    """Features that alone order a binary task's rows without a mistake."""
    columns = rows.read(slice(0, _LOOKED_AT))
    for task in preprocessing.tasks:
        if task.kind != "binary":
            continue
        observed = columns.to_batch(preprocessing.tasks).labels[task.name].observed.numpy()
        label = columns.labels[task.name][observed]
        if min(np.count_nonzero(label == 1), np.count_nonzero(label == 0)) < _LEAST:
            continue
        for name, score in _single_scores(preprocessing, columns, observed, label):
            found = auc(label, score)
            found = max(found, 1 - found)
            if found >= _GIVES_AWAY:
                yield f"feature {name!r} alone predicts task {task.name!r} (AUC {found:.4f}): is it known in time?"


def _single_scores(
    preprocessing: Preprocessing, columns: Columns, observed: np.ndarray, label: Float[np.ndarray, " n"]
) -> Iterator[tuple[str, Float[np.ndarray, " n"]]]:
    """The best score that each single-valued feature gives by itself."""
    for position, field in enumerate(preprocessing.categorical):
        ids = columns.categorical[observed, position]
        if field.size * 20 > len(ids):  # so many categories learn the labels by heart
            continue
        ones = np.bincount(ids, label, minlength=field.size)
        rate = ones / np.maximum(np.bincount(ids, minlength=field.size), 1)
        yield field.name, rate[ids].astype(np.float32)
    for position, numeric in enumerate(preprocessing.numeric):
        yield numeric.name, np.nan_to_num(columns.numeric[observed, position], nan=0.0)
