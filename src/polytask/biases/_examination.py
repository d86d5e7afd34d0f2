"""How often each position is looked at: by expectation-maximisation from a log, or from rows that were shown at random."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from jaxtyping import Bool, Float, Int
from scipy.special import expit, logit

from polytask.errors import ConfigError, DataError, message, nearest

_LEAST = 1e-6
"""Probabilities stay this far from 0 and 1: a posterior there would never move again."""


class Counts(NamedTuple):
    """A log as expectation-maximisation sees it: a line for each position and each thing shown there.

    Args:
        position: Position of the line, counted from 0.
        item: What was shown: whatever has one relevance; counted from 0.
        shown: Rows.
        clicks: Clicks among them.
    """

    position: Int[np.ndarray, " l"]
    item: Int[np.ndarray, " l"]
    shown: Float[np.ndarray, " l"]
    clicks: Float[np.ndarray, " l"]

    @classmethod
    def of(cls, position: Int[np.ndarray, " n"], item: Int[np.ndarray, " n"], click: Float[np.ndarray, " n"]) -> "Counts":
        """Rows with the same position and item as one line.

        Example:
            >>> Counts.of(np.array([0, 1, 0]), np.array([7, 7, 7]), np.array([1.0, 0.0, 0.0])).shown.tolist()
            [2.0, 1.0]
        """
        width, item = int(position.max(initial=-1)) + 1, np.unique(item, return_inverse=True)[1]
        code, place = np.unique(item * width + position, return_inverse=True)
        return cls(code % width, code // width, np.bincount(place).astype(float), np.bincount(place, click))


class PositionModel(NamedTuple):
    """Examination and relevance of the position-based model; only their products are known, so the scale is free.

    Args:
        examination: Of each position.
        relevance: Of each item.
        steps: Steps of expectation-maximisation.
    """

    examination: Float[np.ndarray, " p"]
    relevance: Float[np.ndarray, " i"]
    steps: int = 0


def fit_position_model(counts: Counts, *, max_steps: int = 2000, tolerance: float = 1e-5) -> PositionModel:
    """Most likely examination and relevance, by expectation-maximisation with extrapolated steps.

    `P(examined | no click) = e (1 - r) / (1 - e r)` and `P(relevant | no click) = r (1 - e) / (1 - e r)`; then each e and each r
    is the mean of click or posterior over its rows. Two steps give a direction and a length along which a third goes on.

    Prefer it where alike things were shown at several positions and no traffic is random. Not where each thing has its own place,
    or is seen a few times only: there relevance fits chance. Source: Wang et al., WSDM 2018, "Position Bias Estimation for
    Unbiased Learning to Rank in Personal Search" (its E and M step; section numbers were not at hand).
    Extrapolation: Varadhan and Roland, Scand. J. Stat. 2008, scheme S3.

    Args:
        counts: The log.
        max_steps: At most so many steps.
        tolerance: It ends when no examination moves by more, relative to itself, in a step.
    """
    model = _start(counts)
    for step in range(0, max_steps, 3):
        first = em_step(counts, model)
        second = em_step(counts, first)
        moved = np.abs(second.examination / first.examination - 1).max()
        if moved < tolerance:
            return second._replace(steps=step + 2)
        model = em_step(counts, _extrapolated(model, first, second))
    return model._replace(steps=max_steps)


def em_step(counts: Counts, model: PositionModel) -> PositionModel:
    """One step of expectation-maximisation.

    Example:
        >>> counts = Counts(np.array([0]), np.array([0]), np.array([1.0]), np.array([0.0]))
        >>> found = em_step(counts, PositionModel(np.array([0.5]), np.array([0.5])))
        >>> found.examination.round(4).tolist(), found.relevance.round(4).tolist()
        ([0.3333], [0.3333])
    """
    e, r = model.examination[counts.position], model.relevance[counts.item]
    unclicked = (counts.shown - counts.clicks) / (1 - e * r)
    examined = np.bincount(counts.position, counts.clicks + unclicked * e * (1 - r), minlength=len(model.examination))
    relevant = np.bincount(counts.item, counts.clicks + unclicked * r * (1 - e), minlength=len(model.relevance))
    shown = np.bincount(counts.position, counts.shown, minlength=len(model.examination))
    seen = np.bincount(counts.item, counts.shown, minlength=len(model.relevance))
    return PositionModel(_inside(examined / np.maximum(shown, 1)), _inside(relevant / np.maximum(seen, 1)), model.steps + 1)


def examination_of_random(
    position: Int[np.ndarray, " n"], click: Float[np.ndarray, " n"], random: Bool[np.ndarray, " n"]
) -> Float[np.ndarray, " p"]:
    """Click rate of each position among rows shown at random: there every position has the same relevance on average.

    Example:
        >>> examination_of_random(np.array([0, 0, 1, 1]), np.array([1.0, 1.0, 0.0, 1.0]), np.ones(4, bool)).tolist()
        [1.0, 0.5]
    """
    width = int(position.max(initial=-1)) + 1
    clicks = np.bincount(position[random], click[random], minlength=width)
    return np.asarray(clicks / np.maximum(np.bincount(position[random], minlength=width), 1))


def estimate_examination(
    table: pa.Table,
    *,
    click: str,
    columns: Sequence[str],
    same: Sequence[str] = (),
    random: str | None = None,
) -> pa.Table:
    """Examination by position from a log, relative to the first position of the same device.

    Args:
        table: The log.
        click: Column of 0 and 1.
        columns: Position first, then whatever else examination depends on, such as the device.
        same: Columns that together name what has one relevance, such as query and item: by expectation-maximisation.
        random: Column that is 1 where the order was random: by ratios of click rates. One of the two is to be given.

    Returns:
        A line for each combination of `columns`, with `shown`, `clicks` and `examination`.

    Raises:
        ConfigError: If not one of `same` and `random` is given.
        DataError: If a column is absent.

    Example:
        >>> log = pa.table({"position": [1, 2, 1, 2], "item": [7, 7, 8, 8], "click": [1, 0, 1, 1], "random": [1, 1, 1, 1]})
        >>> estimate_examination(log, click="click", columns=["position"], random="random")["examination"].to_pylist()
        [1.0, 0.5]
    """
    if bool(same) == (random is not None):
        received = f"same={list(same)}, random={random!r}"
        raise ConfigError(message("Examination is estimated from `same` or from `random`.", received=received))
    for name in (click, *columns, *same, *([random] if random else [])):
        if name not in table.column_names:
            raise DataError(message("A log needs its columns.", received=repr(name), way_out=nearest(name, table.column_names)))
    shown = table.select(list(columns)).group_by(list(columns)).aggregate([]).sort_by([(name, "ascending") for name in columns])
    code, clicked = _codes(table, columns), table[click].to_numpy().astype(float)
    if random is None:
        rate = fit_position_model(Counts.of(code, _codes(table, same), clicked)).examination
    else:
        rate = examination_of_random(code, clicked, table[random].to_numpy() == 1)
    found = {"shown": np.bincount(code), "clicks": np.bincount(code, clicked).astype(np.int64)}
    relative = rate / rate[_first_of_context(shown, columns)]
    return pa.table({**{name: shown[name] for name in columns}, **found, "examination": relative})


def _codes(table: pa.Table, columns: Sequence[str]) -> Int[np.ndarray, " n"]:
    """One number for each combination of values; combinations count in the order of their values."""
    code = np.zeros(table.num_rows, np.int64)
    for name in columns:
        values, place = np.unique(table[name].to_numpy(), return_inverse=True)
        code = code * len(values) + place
    return np.asarray(np.unique(code, return_inverse=True)[1])


def _first_of_context(shown: pa.Table, columns: Sequence[str]) -> Int[np.ndarray, " c"]:
    """For each line, the line of the first position with the same further columns."""
    first: dict[tuple[object, ...], int] = {}
    contexts = list(zip(*(shown[name].to_pylist() for name in columns[1:]), strict=True)) or [()] * shown.num_rows
    for line, context in enumerate(contexts):
        first.setdefault(context, line)
    return np.array([first[context] for context in contexts])


def _start(counts: Counts) -> PositionModel:
    """Every position is looked at half the time; relevance is what clicks are then."""
    rate = min(2 * counts.clicks.sum() / counts.shown.sum(), 0.5)
    positions, items = int(counts.position.max()) + 1, int(counts.item.max()) + 1
    return PositionModel(np.full(positions, 0.5), np.full(items, max(rate, _LEAST)))


def _extrapolated(start: PositionModel, first: PositionModel, second: PositionModel) -> PositionModel:
    """Along the way of two steps, by their length and bend; on logits, so that probabilities stay such."""
    points = [_logits(np.concatenate([model.examination, model.relevance])) for model in (start, first, second)]
    step, bend = points[1] - points[0], points[2] - 2 * points[1] + points[0]
    length = max(float(np.linalg.norm(step)) / max(float(np.linalg.norm(bend)), 1e-12), 1.0)
    found = points[0] + 2 * length * step + length**2 * bend
    found = _inside(expit(found))
    cut = len(start.examination)
    return PositionModel(found[:cut], found[cut:], second.steps)


def _inside(p: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    return np.asarray(np.clip(p, _LEAST, 1 - _LEAST))


def _logits(p: Float[np.ndarray, " m"]) -> Float[np.ndarray, " m"]:
    return np.asarray(logit(p))
