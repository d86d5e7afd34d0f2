"""Judges a trained run on a table, or on its own held-out rows."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from polytask.data import Loader
from polytask.errors import ConfigError, message
from polytask.run._bias import read_curve
from polytask.run._directory import RunDirectory
from polytask.run._features import missing_columns
from polytask.run._fitted import Evaluation, load
from polytask.run._gathered import column_slices
from polytask.run._prepare import cache_folder, prepare

_BATCH = 8192


def evaluate(
    directory: str | Path, source: Any = None, *, checkpoint: str = "best", device: str = "auto", by: str | None = None
) -> Evaluation:
    """Metrics of each task on its own sample space, and what the gates do.

    Args:
        directory: Directory of a trained run.
        source: Frame, Arrow table, path, glob or address; the run's own test rows where None, and where it has none those of
            validation.
        checkpoint: Which weights: `best`, `latest`, or `best-TASK` where those were kept.
        device: Where to compute.
        by: Column in whose slices calibration is looked at; of the run's own rows, any column of their table.

    Raises:
        CheckpointError: If there is no trained run.
        DataError: If the table lacks a column, or holds a value outside its domain.
        ConfigError: If no table is named and the run has no rows of its own to be judged on.
    """
    fitted = load(directory, checkpoint=checkpoint, device=device)
    bias = read_curve(RunDirectory(Path(directory)))
    if source is not None:
        return replace(fitted.evaluate(source, by=by), bias=bias)
    prepared = prepare(fitted.config, cache_folder(fitted.config, Path(directory)))
    part = next((part for part in ("test", "valid") if part in prepared.rows), None)
    if part is None:
        raise ConfigError(message("The run has no test and no validation rows.", received="no table", way_out="Name a table."))
    if by is not None:
        missing_columns([by], prepared.tables[part], what="columns that evaluation reads")
    slices = None if by is None else column_slices(prepared.tables[part], by)
    loader = Loader(prepared.rows[part], fitted.preprocessing.tasks, batch_size=_BATCH, shuffle=False)
    return replace(fitted.evaluate(loader, by=slices), source=f"its own {part} part", bias=bias)
