"""A declared run, bound: every name resolved, every default filled in."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from polytask.config._methods import Method, Options
from polytask.config._sections import CalibrationSection, DataSection, FeaturesSection, TrainSection
from polytask.data import Csv, Feature
from polytask.tasks import Task
from polytask.train import Plan

FREE = (
    "data.cache",
    "train.epochs",
    "train.max_steps",
    "train.patience",
    "train.device",
    "train.checkpoint_every",
    "train.tensorboard",
)
"""What may change between an interruption and its resume: how long, where and how loudly, never what is computed."""


@dataclass(frozen=True)
class RunConfig:
    """What `read_config` gives.

    Args:
        data: Where rows come from.
        generator: Simulator that makes the tables, or None where they are named.
        csv: How text files are written, or None where it is to be found out.
        tasks: What is predicted, not yet fitted.
        declared: Features that are declared one by one.
        features: Which further columns are inputs; None where only declared ones are.
        encoder: Features to one representation.
        sharing: One representation to one per task.
        heads: Arguments of `Heads`.
        space: How rows outside of sample spaces are treated.
        bias: What position and device do to labels; None where nothing is to be corrected.
        balancer: Many losses to one direction.
        optimizer: Arguments of `build_optimizer`.
        schedule: Arguments of `Schedule`.
        train: Batches and seed.
        calibration: What is fitted to predictions after training; None where nothing.
        plan: How long to train, how to judge, what to keep.
        resolved: The same as plain tables, every default filled in: what is written into the run's directory.
        source: File it was read from.
        notes: What the reader should be told and is no mistake.
    """

    data: DataSection
    generator: Method | None
    csv: Csv | None
    tasks: tuple[Task, ...]
    declared: tuple[Feature, ...]
    features: FeaturesSection | None
    encoder: Method
    sharing: Method
    heads: Options
    space: Method
    bias: Method | None
    balancer: Method
    optimizer: Options
    schedule: Options
    train: TrainSection
    plan: Plan
    resolved: Mapping[str, Any]
    calibration: CalibrationSection | None = None
    source: Path | None = None
    notes: tuple[str, ...] = field(default=(), compare=False)

    def digest(self) -> str:
        """Short hash of all that decides the result; a run directory belongs to one digest."""
        binding = {place: value for place, value in places(self.resolved) if place not in FREE}
        return hashlib.sha256(json.dumps(binding, sort_keys=True).encode()).hexdigest()[:16]


def places(table: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value of nested tables with its dotted place; lists of tables are addressed by name.

    Example:
        >>> dict(places({"task": [{"name": "click", "weight": 2.0}]}))
        {'task.click.name': 'click', 'task.click.weight': 2.0}
    """
    if isinstance(table, Mapping):
        for key, value in table.items():
            yield from places(value, f"{prefix}.{key}" if prefix else str(key))
    elif isinstance(table, list) and table and all(isinstance(item, Mapping) for item in table):
        for index, item in enumerate(table):
            yield from places(item, f"{prefix}.{item.get('name', index)}")
    else:
        yield prefix, table


def differences(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Where two resolved configurations differ in what binds, as lines `place: ours -> theirs`."""
    left, right = dict(places(ours)), dict(places(theirs))
    names = [name for name in dict.fromkeys([*left, *right]) if name not in FREE]
    return [
        f"{name}: {left.get(name, 'not set')!r} -> {right.get(name, 'not set')!r}"
        for name in names
        if left.get(name) != right.get(name)
    ]
