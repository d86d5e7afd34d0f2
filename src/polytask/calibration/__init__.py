"""Calibration: predicted probabilities that come true as often as they say, per task, after training."""

from polytask.calibration._base import Calibration, calibration_from_json, calibration_to_json
from polytask.calibration._drawing import reliability_svg
from polytask.calibration._fitted import Calibrations
from polytask.calibration._isotonic import Isotonic
from polytask.calibration._platt import Platt
from polytask.calibration._reliability import Reliability, reliability
from polytask.calibration._slices import slices_of
from polytask.calibration._table import SliceCalibration, calibration_table
from polytask.calibration._temperature import Temperature

CALIBRATIONS: dict[str, type[Calibration]] = {
    "isotonic": Isotonic,
    "platt": Platt,
    "temperature": Temperature,
}

__all__ = [
    "CALIBRATIONS",
    "Calibration",
    "Calibrations",
    "Isotonic",
    "Platt",
    "Reliability",
    "SliceCalibration",
    "Temperature",
    "calibration_from_json",
    "calibration_table",
    "calibration_to_json",
    "reliability",
    "reliability_svg",
    "slices_of",
]
