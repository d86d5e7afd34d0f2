"""What every calibration is: a map from predicted probabilities to better ones, fitted on rows the model did not train on."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from jaxtyping import Float

from polytask.errors import ConfigError, DataError, message, nearest

FITTED = MappingProxyType({"fitted": True})
"""Metadata of a number that `fit` finds; nobody declares it."""

Weights = Float[np.ndarray, " n"] | None


@dataclass(frozen=True, kw_only=True)
class Calibration(ABC):
    """Base of the family: a frozen value that holds what was fitted. Probabilities in, probabilities out."""

    kinds: ClassVar[tuple[str, ...]]
    """Kinds of task it can calibrate."""

    name: ClassVar[str]
    """Stem of its file and its name in the registry."""

    @classmethod
    @abstractmethod
    def fit(cls, label: Float[np.ndarray, " n"], prediction: Float[np.ndarray, "n ..."], weight: Weights = None) -> "Calibration":
        """What maps these predictions best to these labels.

        Args:
            label: 0 or 1, or the place of the class.
            prediction: Probability of 1; `n c` probabilities of classes.
            weight: Weight of each row; rows of weight 0 do not count.

        Raises:
            DataError: If there is no row, or a prediction is no probability.
        """

    @abstractmethod
    def apply(self, prediction: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, "n ..."]:
        """Calibrated probabilities, in the shape and type of those that are given."""


def counted(
    label: Float[np.ndarray, " n"], prediction: Float[np.ndarray, "n ..."], weight: Weights
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Label, prediction and weight of the rows that count, in float64.

    Raises:
        DataError: If there is no such row, or a prediction is no probability.
    """
    weights = np.ones(len(label)) if weight is None else weight.astype(np.float64)
    rows = weights > 0
    if not rows.any():
        way_out = "Calibrate on rows where the task is labelled."
        raise DataError(message("Calibration needs labelled rows.", received=f"none in {len(label)} rows", way_out=way_out))
    probability = prediction[rows].astype(np.float64)
    wrong = ~((probability >= 0) & (probability <= 1))
    if wrong.any():
        raise DataError(message("Predictions must be probabilities.", received=probability[wrong][0]))
    return label[rows].astype(np.float64), probability, weights[rows]


def log_odds(prediction: Float[np.ndarray, " n"]) -> Float[np.ndarray, " n"]:
    """Log-odds in float64 of probabilities, which are kept one rounding step of their type away from 1, and above 0."""
    limits = np.finfo(prediction.dtype)
    inside = np.clip(prediction, limits.tiny, 1 - limits.epsneg).astype(np.float64)
    odds: np.ndarray = np.log(inside) - np.log1p(-inside)
    return odds


def calibration_to_json(calibration: Calibration) -> dict[str, Any]:
    """A calibration as JSON values: its name, and every number; read back exactly.

    Example:
        >>> from polytask.calibration import Platt
        >>> calibration_to_json(Platt(slope=0.5, offset=-1.0))
        {'name': 'platt', 'slope': 0.5, 'offset': -1.0}
    """
    values = {item.name: getattr(calibration, item.name) for item in fields(calibration)}
    return {"name": calibration.name} | {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}


def calibration_from_json(values: Mapping[str, Any]) -> Calibration:
    """The calibration that `calibration_to_json` wrote.

    Raises:
        ConfigError: If the name is unknown, or a number is missing.
    """
    from polytask.calibration import CALIBRATIONS  # noqa: PLC0415 - the registry imports the members

    name = str(values.get("name"))
    if name not in CALIBRATIONS:
        raise ConfigError(message("Unknown calibration.", received=repr(name), way_out=nearest(name, CALIBRATIONS)))
    make: Callable[..., Calibration] = CALIBRATIONS[name]
    found = {key: tuple(value) if isinstance(value, list) else value for key, value in values.items() if key != "name"}
    try:
        return make(**found)
    except TypeError as error:
        raise ConfigError(
            message(f"{name!r} cannot be made of these values.", received=sorted(found), way_out=f"{error}.")
        ) from None
