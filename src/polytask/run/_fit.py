"""From a frame to a fitted model in one call."""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from polytask.config import parse_config
from polytask.data import Table, open_table
from polytask.run._fitted import Fitted, load
from polytask.run._train import train
from polytask.tasks import Task, task_to_json


def fit(
    table: Any,
    tasks: Sequence[Task],
    *,
    valid: Any = None,
    directory: str | Path | None = None,
    progress: bool = False,
    **tables: Any,
) -> Fitted:
    """Trains one model of several tasks on a table.

    Args:
        table: pandas or polars frame, Arrow table, path, glob or address.
        tasks: What is predicted.
        valid: Rows that choose the best weights and may stop the training early. Without them (and without
            `data={"split": ...}`) the last weights are kept.
        directory: Directory of the run, which the same call takes up again; nothing is kept where it is None.
        progress: Whether to show on standard error what is done.
        **tables: Any table of a declared run: `sharing="ple"`, `balancer={"name": "fixed", "weights": {...}}`,
            `train={"epochs": 3}`, `optimizer={"lr": 1e-3}`, `features={"exclude": ["id"]}`, `feature=[{...}]`.

    Raises:
        ConfigError: Names every mistake with its place, the received value and the nearest valid name.
        DataError: If a table cannot be used.

    Example:
        >>> import pyarrow as pa
        >>> from polytask.tasks import Binary, Regression
        >>> people = pa.table({"age": [20, 30, 40, 50] * 9, "buys": [0, 0, 1, 1] * 9, "spends": [1.0, 2.0, 8.0, 9.0] * 9})
        >>> fitted = fit(people, [Binary("buys"), Regression("spends")], sharing="shared_bottom", train={"epochs": 2})
        >>> fitted.predict(people.select(["age"])).column_names
        ['buys', 'spends']
    """
    sources = {part: open_table(source) for part, source in (("train", table), ("valid", valid)) if source is not None}
    data = {part: _address(source, sources[part]) for part, source in (("train", table), ("valid", valid)) if source is not None}
    written = {name: {"name": value} if isinstance(value, str) else value for name, value in tables.items()}
    written["data"] = {**written.get("data", {}), **data}
    written["task"] = [{key: value for key, value in task_to_json(task).items() if value is not None} for task in tasks]
    config = parse_config(written)
    if directory is not None:
        train(config, directory, sources=sources, progress=progress)
        return load(directory, device=config.plan.device)
    with tempfile.TemporaryDirectory(prefix="polytask-") as scratch:
        train(config, Path(scratch) / "run", sources=sources, progress=progress)
        return load(Path(scratch) / "run", device=config.plan.device)


def _address(source: Any, table: Table) -> str:
    """A path as it is; rows in memory by their content, so that a directory belongs to them and no others."""
    return str(source) if isinstance(source, str | Path) else f"memory://{table.fingerprint()}"
