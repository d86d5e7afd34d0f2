"""Real labels in units of their own spread, and back."""

import math

import numpy as np
from jaxtyping import Float
from torch import Tensor

from polytask.errors import DataError, message
from polytask.tasks._summary import LabelSummary


def moments(summary: LabelSummary) -> tuple[float, float]:
    """Mean and standard deviation of the labels.

    Raises:
        DataError: If they are so large that their spread is not a number.
    """
    scale = math.sqrt(summary.variance)
    if not 0 < scale < math.inf:
        expected = f"The spread of the labels in column {summary.column!r} must be a number above 0."
        received = f"{scale} for labels from {summary.minimum} to {summary.maximum}"
        raise DataError(message(expected, received=received, way_out="Rescale the column."))
    return summary.mean, scale


def standardised(labels: Float[np.ndarray, " n"], mean: float, scale: float) -> Float[np.ndarray, " n"]:
    """Labels in standard deviations from their mean; subtracted in float64, so that a large mean costs no digits."""
    return ((labels - mean) / scale).astype(np.float32)


def own_scale_labels(labels: Float[np.ndarray, " n"], mean: float, scale: float) -> Float[np.ndarray, " n"]:
    """Standardised labels on their own scale, in float64."""
    return labels.astype(np.float64) * scale + mean


def own_scale(output: Float[Tensor, "*n"], mean: float, scale: float) -> Float[Tensor, "*n"]:
    """Standardised estimates on the labels' own scale; in float64, where a large mean (a time stamp) costs no digits."""
    return in_float64(output) * scale + mean


def in_float64(output: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """The same in float64: on its device, or on the host where the device has none (Apple's GPU)."""
    return (output.cpu() if output.device.type == "mps" else output).double()
