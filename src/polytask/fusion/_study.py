"""Trials one after the other, kept in Optuna's storage so that a killed search goes on."""

import json
import math
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, final

import numpy as np
from jaxtyping import Float

from polytask.errors import ConfigError, message

_STUDY = "weights"
_IDENTITY = "polytask search"

Progress = Callable[[int, int, Sequence[float]], None]
"""Is told the trials done, all trials, and the values of the last."""


@final
@dataclass(frozen=True)
class Budget:
    """How long a search may take.

    Args:
        trials: Trials in all, those of earlier calls included.
        seconds: Seconds of this call; None is as long as the trials take. The trial that runs is finished.
        seed: Chooses the trials.

    Raises:
        ConfigError: If a number is out of its range.
    """

    trials: int = 100
    seconds: float | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.trials < 1:
            raise ConfigError(message("A search needs a trial.", received=self.trials))
        if self.seconds is not None and not self.seconds > 0:
            raise ConfigError(message("Seconds are above 0.", received=self.seconds))
        if self.seed < 0:
            raise ConfigError(message("A seed is 0 or more.", received=self.seed))


class Trial(NamedTuple):
    """One choice of weights and what it gave.

    Args:
        number: Its place among the trials.
        weights: Weight of each prediction; absolute values sum to 1.
        values: Value of each objective, greater is better.
    """

    number: int
    weights: tuple[float, ...]
    values: tuple[float, ...]


class Problem(NamedTuple):
    """What is searched.

    Args:
        dimensions: Numbers from 0 to 1 that make a point.
        first: The point of the first trial.
        weights: Weights of a point.
        values: Values of weights, greater is better.
        objectives: Names of the values.
        identity: What makes two searches the same, in plain values.
    """

    dimensions: int
    first: Float[np.ndarray, " d"]
    weights: Callable[[np.ndarray], np.ndarray]
    values: Callable[[np.ndarray], tuple[float, ...]]
    objectives: tuple[str, ...]
    identity: Mapping[str, object]


def run_study(problem: Problem, budget: Budget, storage: Path | None, progress: Progress) -> tuple[Trial, ...]:
    """Runs the trials that are not there yet and gives all.

    Trial i is drawn by a sampler whose seed is a function of the search's seed and i, and which sees the trials before it only:
    a search that was killed goes on as if it had not been. A trial that was being made then is given up and made again.

    Raises:
        ConfigError: If Optuna is not installed, or the storage holds another search.
    """
    optuna = _optuna()
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        with _sqlite(optuna, storage) as opened:
            study = _study(optuna, problem, budget.seed, (opened, storage))
            return _run(optuna, study, problem, (budget, progress))
    finally:
        optuna.logging.set_verbosity(level)


def _run(optuna: Any, study: Any, problem: Problem, within: tuple[Budget, Progress]) -> tuple[Trial, ...]:
    """Trials until they are enough, or time is up: at least one a call."""
    budget, progress = within
    names = [f"u{place}" for place in range(problem.dimensions)]
    space = {name: optuna.distributions.FloatDistribution(0.0, 1.0) for name in names}
    end = time.monotonic() + (math.inf if budget.seconds is None else budget.seconds)
    done = _complete(optuna, study)
    late = False
    while len(done) < budget.trials and not late:
        _make(optuna, study, problem, (space, _seed(budget.seed, len(done))))
        done = _complete(optuna, study)
        progress(len(done), budget.trials, done[-1].values)
        late = time.monotonic() > end
    return tuple(
        Trial(number, tuple(problem.weights(_point(trial.params, names)).tolist()), tuple(trial.values))
        for number, trial in enumerate(done)
    )


def _make(optuna: Any, study: Any, problem: Problem, drawn: tuple[Mapping[str, Any], int]) -> None:
    """One trial; the first one is known, the others are drawn."""
    space, seed = drawn
    if not _complete(optuna, study):
        values = problem.values(problem.weights(problem.first))
        params = dict(zip(space, problem.first.tolist(), strict=True))
        study.add_trial(optuna.trial.create_trial(params=params, distributions=space, values=list(values)))
        return
    study.sampler = optuna.samplers.TPESampler(seed=seed, multivariate=True)
    trial = study.ask(space)
    study.tell(trial, list(problem.values(problem.weights(_point(trial.params, list(space))))))


def _study(optuna: Any, problem: Problem, seed: int, storage: tuple[Any, Path | None]) -> Any:
    opened, path = storage
    study = optuna.create_study(
        storage=opened,
        study_name=_STUDY,
        directions=["maximize"] * len(problem.objectives),
        load_if_exists=True,
    )
    identity = {**problem.identity, "seed": seed}
    there = study.user_attrs.get(_IDENTITY)
    if there is None:
        study.set_user_attr(_IDENTITY, json.dumps(identity))
    elif json.loads(there) != identity:
        kept = json.loads(there)
        differing = [f"{key}: {kept.get(key)!r}, not {identity[key]!r}" for key in identity if kept.get(key) != identity[key]]
        way_out = "Name another directory, or search for the same."
        raise ConfigError(message(f"{str(path)!r} holds another search.", received="; ".join(differing), way_out=way_out))
    for trial in study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.RUNNING]):
        study.tell(trial.number, state=optuna.trial.TrialState.FAIL)
    return study


@contextmanager
def _sqlite(optuna: Any, path: Path | None) -> Iterator[Any]:
    """A file of SQLite that waits for the disk at checkpoints, not at every commit: a kill loses nothing, and it stays whole."""
    if path is None:
        yield None
        return

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(path, check_same_thread=False)
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection

    storage = optuna.storages.RDBStorage(f"sqlite:///{path}", engine_kwargs={"creator": connect})
    try:
        yield storage
    finally:
        storage.engine.dispose()


def _complete(optuna: Any, study: Any) -> list[Any]:
    return list(study.get_trials(deepcopy=False, states=[optuna.trial.TrialState.COMPLETE]))


def _point(params: Mapping[str, float], names: Sequence[str]) -> Float[np.ndarray, " d"]:
    return np.array([params[name] for name in names])


def _seed(seed: int, trial: int) -> int:
    return int(np.random.SeedSequence([seed, trial]).generate_state(1)[0])


def _optuna() -> Any:
    try:
        import optuna  # noqa: PLC0415 - an extra, and a part of a second to import
    except ImportError as error:
        way_out = "pip install 'polytask[study]'"
        raise ConfigError(message("A search needs Optuna.", received=str(error), way_out=way_out)) from None
    return optuna
