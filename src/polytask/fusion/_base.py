"""What every fusion is: a weighted sum of one term a prediction, whose weights are data."""

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from polytask.errors import ConfigError, DataError, message, nearest

Mistake = tuple[str, str]
"""The key that is wrong, and what is wrong with it."""


class Fusion(ABC):
    """One score from several predictions, for the order of a list: `score = Σ_k weight_k · term_k(prediction_k)`.

    The weights are data: they come from a file, and change without training anything. Only the order of scores means something,
    so weights are known up to a positive factor: `normalised` gives the ones whose absolute values sum to 1.

    Args:
        weights: Weight of each prediction, by its name.

    Raises:
        ConfigError: Names every weight and option that cannot be used.
    """

    name: ClassVar[str]
    signed: ClassVar[bool] = True

    def __init__(self, weights: Mapping[str, float], **options: Any) -> None:
        mistakes = list(self.mistakes(weights, options))
        if mistakes:
            raise ConfigError("\n".join(f"{type(self).__name__}, {key}: {text}" for key, text in mistakes))
        self.weights: dict[str, float] = {name: float(weight) for name, weight in weights.items()}

    @abstractmethod
    def term(self, name: str, prediction: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
        """What a prediction adds to the score, before its weight; it rises with the prediction."""

    @property
    @abstractmethod
    def options(self) -> dict[str, Any]:
        """Keyword arguments that make it again, as plain values."""

    @classmethod
    def mistakes(cls, weights: Any, options: Mapping[str, Any]) -> Iterator[Mistake]:
        """All that is wrong with weights and options, before anything is made of them."""
        yield from weight_mistakes(weights, signed=cls.signed)
        if isinstance(weights, Mapping):
            yield from cls._option_mistakes(weights, options)

    @classmethod
    @abstractmethod
    def _option_mistakes(cls, weights: Mapping[str, Any], options: Mapping[str, Any]) -> Iterator[Mistake]: ...

    def __call__(self, predictions: Mapping[str, Float[Tensor, "..."]]) -> Float[Tensor, "..."]:
        """Scores. Predictions that have no weight are passed over; of half precision the arithmetic is in float32.

        Args:
            predictions: Predictions by name, on their own scale (probabilities, minutes), of one shape.

        Raises:
            DataError: Names the predictions that are absent.
        """
        self._check(predictions)
        return sum_of(
            [weight * self.term(name, predictions[name].to(_wide(predictions[name]))) for name, weight in self.weights.items()]
        )

    def of_arrays(self, predictions: Mapping[str, Float[np.ndarray, " n"]]) -> Float[np.ndarray, " n"]:
        """Scores of NumPy columns, computed in float64.

        Raises:
            DataError: Names the predictions that are absent.
        """
        self._check(predictions)
        columns = {name: torch.from_numpy(np.asarray(predictions[name], np.float64).copy()) for name in self.weights}
        scores: np.ndarray = self(columns).numpy()
        return scores

    def normalised(self) -> "Fusion":
        """The same order of scores, with weights whose absolute values sum to 1."""
        return self.weighted({name: weight / self.total for name, weight in self.weights.items()})

    @property
    def total(self) -> float:
        """Sum of the absolute weights."""
        return math.fsum(map(abs, self.weights.values()))

    def weighted(self, weights: Mapping[str, float]) -> "Fusion":
        """The same fusion with other weights."""
        return type(self)(weights, **self.options)

    def to_json(self, path: str | Path) -> None:
        """Writes the file whole or not at all."""
        from polytask.fusion._json import write_fusion  # noqa: PLC0415 - it builds on this module

        write_fusion(self, path)

    @staticmethod
    def from_json(path: str | Path) -> "Fusion":
        """Reads what `to_json` or a person wrote.

        Raises:
            ConfigError: Names the file, and every key that is unknown, absent or has a value that cannot be used.
        """
        from polytask.fusion._json import read_fusion  # noqa: PLC0415

        return read_fusion(path)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Fusion) and vars(self) == vars(other) and type(self) is type(other)

    __hash__ = None  # type: ignore[assignment]  # its weights are a dictionary

    def __repr__(self) -> str:
        options = "".join(f", {key}={value!r}" for key, value in self.options.items())
        return f"{type(self).__name__}({self.weights!r}{options})"

    def _check(self, predictions: Mapping[str, Any]) -> None:
        missing = [name for name in self.weights if name not in predictions]
        if missing:
            lines = [
                message(f"The fusion weighs a prediction {name!r}.", received="none", way_out=nearest(name, predictions))
                for name in missing
            ]
            raise DataError("\n".join(lines))


def sum_of(terms: list[Tensor]) -> Tensor:
    """Their sum, in order."""
    total = terms[0]
    for term in terms[1:]:
        total = total + term
    return total


def is_number(value: object) -> bool:
    """Whether it is a finite number; a truth value is none."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def weight_mistakes(weights: object, *, signed: bool) -> Iterator[Mistake]:
    """All that is wrong with weights by name."""
    if not isinstance(weights, Mapping) or not weights:
        yield "weights", message("Weights are numbers by the name of a prediction.", received=repr(weights))
        return
    for name, weight in weights.items():
        if not is_number(weight):
            yield f"weights.{name}", message("A weight is a finite number.", received=repr(weight))
        elif not signed and weight < 0:
            way_out = "Take the fusion without 'monotone' in its name where a prediction shall count against a row."
            yield f"weights.{name}", message("A monotone weight is 0 or more.", received=repr(weight), way_out=way_out)
    if all(is_number(weight) and not weight for weight in weights.values()):
        yield "weights", message("A weight must differ from 0.", received="all are 0", way_out="All rows would tie.")


def positive_mistakes(key: str, value: object) -> Iterator[Mistake]:
    """What is wrong with a number that must be above 0."""
    if not is_number(value) or not value > 0:  # type: ignore[operator]
        yield key, message("It is a finite number above 0.", received=repr(value))


def _wide(prediction: Tensor) -> torch.dtype:
    return torch.promote_types(prediction.dtype, torch.float32)
