"""The search for weights on held-out rows, and what it found."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np

from polytask.errors import ConfigError, message
from polytask.fusion._base import Fusion
from polytask.fusion._front import compromise, non_dominated
from polytask.fusion._objectives import HeldOut, Objective, objective_mistakes, scorer
from polytask.fusion._report import write_report
from polytask.fusion._space import WeightSpace, spreads
from polytask.fusion._study import Budget, Problem, Progress, Trial, run_study
from polytask.lock import locked


@final
@dataclass(frozen=True)
class Searched:
    """What a search found.

    Args:
        space: What was searched.
        objectives: What for.
        trials: All trials, in their order; the first has equal shares.
    """

    space: WeightSpace
    objectives: tuple[Objective, ...]
    trials: tuple[Trial, ...]

    @property
    def front(self) -> tuple[Trial, ...]:
        """Trials that no other one beats in every objective, by falling first objective: what there is to choose from."""
        keep = non_dominated(np.array([trial.values for trial in self.trials]))
        chosen = [trial for trial, kept in zip(self.trials, keep.tolist(), strict=True) if kept]
        return tuple(sorted(chosen, key=lambda trial: trial.values, reverse=True))

    @property
    def best(self) -> Trial:
        """The best trial; of several objectives that of the front which is nearest to the best of each."""
        front = self.front
        return front[compromise(np.array([trial.values for trial in front]))]

    def fusion(self, trial: Trial | None = None) -> Fusion:
        """The fusion of a trial, with normalised weights; of the best one where none is given."""
        return self.space.with_weights((trial or self.best).weights)


def _identity(space: WeightSpace, held_out: HeldOut, objectives: Sequence[Objective]) -> dict[str, object]:
    """What makes two searches the same, in plain values."""
    names = list(space.predictions)
    labels = sorted({objective.label for objective in objectives})
    columns = [held_out.predictions[name] for name in names] + [held_out.labels[name] for name in labels]
    rows = hashlib.sha256()
    for values in [*columns, held_out.groups, held_out.weight]:
        if values is not None:
            rows.update(np.ascontiguousarray(values).data if values.dtype != object else repr(values.tolist()).encode())
    return {
        "objectives": list(map(str, objectives)),
        "predictions": names,
        "against": sorted(space.against),
        "fusion": space.fusion,
        "options": repr(sorted(space.with_weights([1.0] * len(names)).options.items())),
        "rows": rows.hexdigest(),
    }


def search_weights(
    space: WeightSpace,
    held_out: HeldOut,
    objectives: Sequence[Objective],
    *,
    budget: Budget = Budget(),  # noqa: B008 - a frozen value
    directory: str | Path | None = None,
    progress: Progress | None = None,
) -> Searched:
    """Searches for the weights that are best on held-out rows: Bayesian search by Optuna (a tree of Parzen estimators).

    With a directory the search is kept in it (SQLite) and can be killed at any moment: the next call goes on, does no trial
    twice, and ends as one that was never killed. In it are written `fusion.json` (the best), `trials.csv`, `front.json` and
    `front.svg`. Without one, nothing is kept.

    Every trial is a function of the seed and of the trials before it; the first has equal shares, so the result is never worse
    than those. Several objectives are searched together, and `front` is what there is to choose from.

    Args:
        space: Which weights.
        held_out: Rows that no model was trained on.
        objectives: One, or several.
        budget: How long, and the seed.
        directory: Where it is kept.
        progress: Is called after every trial.

    Raises:
        ConfigError: Names everything that objectives and rows lack; or the directory holds another search.
        DataError: If a prediction does not differ between rows, or an objective has no value on them.
    """
    mistakes = list(objective_mistakes(objectives, held_out))
    mistakes += [
        message(f"Prediction {name!r} must be among the held-out rows.", received="none")
        for name in space.predictions
        if name not in held_out.predictions
    ]
    if mistakes:
        raise ConfigError("\n".join(mistakes))
    terms = space.terms(held_out)
    spread = spreads(terms, space.predictions)
    score = scorer(objectives, held_out)
    problem = Problem(
        dimensions=space.dimensions,
        first=space.equal,
        weights=lambda point: space.weights(point, spread),
        values=lambda weights: score(terms @ weights),
        objectives=tuple(map(str, objectives)),
        identity=_identity(space, held_out, objectives),
    )
    told = progress or (lambda *_: None)
    if directory is None:
        return Searched(space, tuple(objectives), run_study(problem, budget, None, told))
    place = Path(directory)
    with locked(place):
        found = Searched(space, tuple(objectives), run_study(problem, budget, place / "search.db", told))
        write_report(found.trials, found.front, problem.objectives, found.fusion, place)
        found.fusion().to_json(place / "fusion.json")
    return found
