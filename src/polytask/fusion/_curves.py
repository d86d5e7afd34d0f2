"""Rising curves of straight pieces, and their fit to held-out rows."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, final

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polytask.errors import ConfigError, DataError, message, nearest
from polytask.fusion._base import Mistake, is_number


@final
@dataclass(frozen=True)
class Curve:
    """A function of straight pieces between knots that never falls; constant beyond the first and the last knot.

    Example:
        >>> Curve((0.0, 0.1, 1.0), (0.0, 0.5, 1.0))(torch.tensor([0.05, 0.1, 2.0]))
        tensor([0.2500, 0.5000, 1.0000])

    Args:
        at: Two or more rising knots.
        to: Value at each knot, none below the one before.

    Raises:
        ConfigError: If knots do not rise, or values fall.
    """

    at: tuple[float, ...]
    to: tuple[float, ...]

    def __post_init__(self) -> None:
        problem = _problem(self.at, self.to)
        if problem:
            raise ConfigError(problem)

    def __call__(self, x: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """Values of the curve."""
        at, to = (torch.tensor(knots, dtype=x.dtype, device=x.device) for knots in (self.at, self.to))
        x = x.clamp(self.at[0], self.at[-1])
        piece = torch.searchsorted(at, x.contiguous()).clamp(1, len(self.at) - 1)
        share = (x - at[piece - 1]) / (at[piece] - at[piece - 1])
        return to[piece - 1] + share * (to[piece] - to[piece - 1])


def fit_curves(
    predictions: Mapping[str, Float[np.ndarray, " n"]],
    labels: Mapping[str, Float[np.ndarray, " n"]],
    weight: Float[np.ndarray, " n"] | None = None,
    *,
    pieces: int = 15,
) -> dict[str, Curve]:
    """The rising curve of each prediction that is nearest to its label: least squares over held-out rows.

    Rows without a label (NaN) do not count. A stretch on which the label does not rise with the prediction becomes flat: rows tie
    there. Values below 0 are not fitted, so that products can take them.

    Args:
        predictions: Predictions by name.
        labels: Label of each of those predictions, by the same names.
        weight: Weight of each row.
        pieces: Most straight pieces of a curve; knots are quantiles of the prediction.

    Raises:
        DataError: If a prediction has no label, no labelled row, or fewer than two values.

    Example:
        >>> p = np.linspace(0, 1, 101)
        >>> curve = fit_curves({"click": p}, {"click": p / 2}, pieces=2)["click"]
        >>> curve.at, [round(value, 6) for value in curve.to]
        ((0.0, 0.5, 1.0), [0.0, 0.25, 0.5])
    """
    curves = {}
    for name, prediction in predictions.items():
        if name not in labels:
            raise DataError(message(f"Prediction {name!r} needs labels.", received="none", way_out=nearest(name, labels)))
        rows = ~np.isnan(labels[name]) & ((weight > 0) if weight is not None else True)
        x, y = (values[rows].astype(np.float64) for values in (prediction, labels[name]))
        mass = np.ones(len(x)) if weight is None else weight[rows].astype(np.float64)
        knots = np.unique(np.quantile(x, np.linspace(0, 1, pieces + 1))) if len(x) else x
        if len(knots) < 2:
            way_out = "Take rows whose predictions differ."
            raise DataError(message(f"A curve of {name!r} needs two values.", received=f"{len(knots)}", way_out=way_out))
        curves[name] = Curve(tuple(knots.tolist()), tuple(_rising(x, y, mass, knots).tolist()))
    return curves


def _rising(x: np.ndarray, y: np.ndarray, mass: np.ndarray, knots: np.ndarray) -> Float[np.ndarray, " q"]:
    """Values at the knots: least squares in the steps from knot to knot, each 0 or more, and so is the first value.

    The normal equations of a curve of straight pieces couple neighbours only; they are gathered in one pass over the rows.
    """
    from scipy.optimize import nnls  # noqa: PLC0415 - a part of a second to import

    count = len(knots)
    left = np.clip(np.searchsorted(knots, x, "right") - 1, 0, count - 2)
    share = (x - knots[left]) / (knots[left + 1] - knots[left])
    gram, moment = np.zeros((count, count)), np.zeros(count)
    for one, of_one in ((left, 1 - share), (left + 1, share)):
        moment += np.bincount(one, mass * of_one * y, minlength=count)
        for other, of_other in ((left, 1 - share), (left + 1, share)):
            flat = np.bincount(one * count + other, mass * of_one * of_other, minlength=count * count)
            gram += flat.reshape(count, count)
    gram += np.eye(count) * 1e-12 * np.trace(gram)  # a knot that no row is near has the value of its neighbours
    factor = np.linalg.cholesky(gram)
    steps, _ = nnls(factor.T @ np.tri(count), np.linalg.solve(factor, moment))
    values: np.ndarray = np.cumsum(steps)
    return values


def curve_mistakes(weights: Mapping[str, Any], curves: object) -> Iterator[Mistake]:
    """All that is wrong with curves by name, as a file holds them."""
    if curves is None:
        return
    if not isinstance(curves, Mapping):
        yield "options.curves", message("Curves are given by the name of a prediction.", received=repr(curves))
        return
    for name, curve in curves.items():
        key = f"options.curves.{name}"
        if name not in weights:
            yield key, message("It must have a weight.", received="none", way_out=nearest(name, weights))
        if isinstance(curve, Curve):
            continue
        if not isinstance(curve, Mapping) or set(curve) != {"at", "to"}:
            received = sorted(curve) if isinstance(curve, Mapping) else repr(curve)
            yield key, message("A curve has the keys 'at' and 'to'.", received=received)
        elif problem := _problem(curve["at"], curve["to"]):
            yield key, problem


def as_curves(curves: Mapping[str, Any] | None) -> dict[str, Curve]:
    """Curves of curves, or of what a file holds."""
    return {
        name: curve if isinstance(curve, Curve) else Curve(tuple(map(float, curve["at"])), tuple(map(float, curve["to"])))
        for name, curve in (curves or {}).items()
    }


def plain_curves(curves: Mapping[str, Curve]) -> dict[str, dict[str, list[float]]]:
    """As a file holds them."""
    return {name: {"at": list(curve.at), "to": list(curve.to)} for name, curve in curves.items()}


def _problem(at: Any, to: Any) -> str:
    for knots in (at, to):
        if not isinstance(knots, list | tuple) or not all(map(is_number, knots)):
            return message("Knots and values are lists of finite numbers.", received=repr(knots))
    if len(at) != len(to) or len(at) < 2:
        return message("A curve has two knots or more, and a value at each.", received=f"{len(at)} knots, {len(to)} values")
    if any(low >= high for low, high in pairwise(at)):
        return message("Knots must rise.", received=list(at))
    if any(low > high for low, high in pairwise(to)):
        return message("Values must not fall.", received=list(to), way_out="A monotone fusion keeps the order of a prediction.")
    return ""
