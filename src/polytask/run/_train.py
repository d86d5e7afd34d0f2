"""Trains a declared run in a directory of its own; the same call again takes up what was interrupted."""

import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from polytask.callbacks import Callback, ProgressDisplay, TensorBoard
from polytask.config import RunConfig
from polytask.data import Loader, Preprocessing, Rows, Table
from polytask.lock import locked
from polytask.run._bias import fit_bias, write_curve
from polytask.run._build import build_balancer, build_model, build_update
from polytask.run._calibrate import calibrate_run
from polytask.run._directory import RunDirectory
from polytask.run._prepare import Prepared, cache_folder, prepare
from polytask.train import Trainer

_LOG_WIDTH = 400
_VALID_BATCH = 8192
"""Rows of a batch in validation: no gradient is kept, so more fit; more than this is no faster."""


@dataclass(frozen=True)
class Trained:
    """What a training came to.

    Args:
        directory: Where it lies.
        step: Optimizer steps done.
        epoch: Passes over the training rows done.
        best: Step and metrics of the best validation; empty where nothing was validated.
        seconds: Time spent, all sittings together.
        finished_before: Whether nothing was left to do.
    """

    directory: Path
    step: int
    epoch: int
    best: Mapping[str, Any]
    seconds: float
    finished_before: bool = False

    @property
    def metrics(self) -> Mapping[str, Mapping[str, float]]:
        """Metrics of each task at the best validation."""
        found: Mapping[str, Mapping[str, float]] = self.best.get("metrics", {})
        return found

    def report(self) -> dict[str, Any]:
        """As plain values."""
        plain = {"directory": str(self.directory), "step": self.step, "epoch": self.epoch, "best": dict(self.best)}
        return plain | {"seconds": self.seconds, "finished_before": self.finished_before}


def train(
    config: RunConfig, directory: str | Path, *, sources: Mapping[str, Table] | None = None, progress: bool = False
) -> Trained:
    """Trains a declared run, or goes on with it.

    Args:
        config: What was declared.
        directory: Directory of the run; made where it does not exist.
        sources: Open table of each part, instead of those that the configuration names.
        progress: Whether to show on standard error what is done.

    Raises:
        CheckpointError: If the directory belongs to a run of another configuration.
        DataError: If a table cannot be used.
        DivergenceError: If a loss is no number.
        Interrupted: After Ctrl-C or SIGTERM, when everything is saved.
    """
    place = RunDirectory(Path(directory))
    with locked(place.path):
        place.claim(config)
        done = place.read_result()
        if done is not None and done["length"] == _length(config):
            return Trained(place.path, **done["trained"], finished_before=True)
        prepared = prepare(config, cache_folder(config, place.path), sources=sources, say=_say if progress else _nothing)
        if not place.checkpoint("latest").exists():  # else it belongs to those weights, whatever the table holds now
            prepared.preprocessing.save(place.preprocessing)
        trained = _fit(config, prepared, place, progress=progress)
        calibrate_run(place, config, prepared)
        write_curve(place, prepared.rows["train"], device=config.plan.device)
        result = {"step": trained.step, "epoch": trained.epoch, "best": trained.best, "seconds": trained.seconds}
        place.write_result({"length": _length(config), "trained": result})
    return trained


def _fit(config: RunConfig, prepared: Prepared, place: RunDirectory, *, progress: bool) -> Trained:
    preprocessing = prepared.preprocessing
    model = build_model(config, preprocessing)
    balancer = build_balancer(config, [task.name for task in model.tasks])
    fit_bias(model, prepared.rows["train"], preprocessing.tasks)
    loader, valid = _loaders(config, preprocessing, prepared.rows)
    optimizer, schedule = build_update(config, model, balancer, len(loader))
    callbacks: list[Callback] = [ProgressDisplay(_console())] if progress else []
    if config.train.tensorboard:
        callbacks.append(TensorBoard(place.path / "tensorboard"))
    trainer = Trainer(model, balancer, optimizer, plan=config.plan, schedule=schedule, callbacks=callbacks)
    # A table that changed since makes other rows, or rows that mean something else: a position in them says nothing.
    identity = {"config": config.digest(), "preprocessing": preprocessing.digest(), "training rows": len(prepared.rows["train"])}
    result = trainer.fit(loader, valid, directory=place.path, identity=identity)
    best = {} if result.best is None else {"step": result.best.step, "metrics": _plain(result.best.metrics)}
    return Trained(place.path, result.step, result.epoch, best, result.seconds)


def _loaders(config: RunConfig, preprocessing: Preprocessing, rows: Mapping[str, Rows]) -> tuple[Loader, Loader | None]:
    tasks = preprocessing.tasks
    train_rows = Loader(rows["train"], tasks, batch_size=config.train.batch_size, seed=config.train.seed)
    if "valid" not in rows:
        return train_rows, None
    return train_rows, Loader(rows["valid"], tasks, batch_size=max(config.train.batch_size, _VALID_BATCH), shuffle=False)


def _length(config: RunConfig) -> dict[str, int | None]:
    """What may be raised to train a finished run further."""
    return {"epochs": config.plan.epochs, "max_steps": config.plan.max_steps, "patience": config.plan.patience}


def _plain(metrics: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    """JSON has no NaN: a metric that is not defined becomes null."""
    return {
        task: {name: value if math.isfinite(value) else None for name, value in found.items()} for task, found in metrics.items()
    }


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - the user asked to be told


def _console() -> Console:
    """Standard error; lines are not folded where it is no terminal."""
    console = Console(stderr=True)
    return console if console.is_terminal else Console(stderr=True, width=_LOG_WIDTH)


def _nothing(text: str) -> None:
    del text
