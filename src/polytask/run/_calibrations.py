"""Calibrations of a trained run, kept beside each checkpoint as JSON, and what they make of predictions."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from polytask.calibration import Calibrations
from polytask.config import CalibrationSection
from polytask.errors import CheckpointError, message
from polytask.files import replacing
from polytask.run._columns import Column


def write_calibrations(checkpoint: Path, calibrations: Calibrations) -> None:
    """Writes `NAME.calibration.json` beside a checkpoint, whole or not at all."""
    content = {"checkpoint": _fingerprint(checkpoint), "calibrations": calibrations.to_json()}
    with replacing(_place(checkpoint)) as scratch:
        scratch.write_text(json.dumps(content) + "\n", encoding="utf-8")


def read_calibrations(checkpoint: Path, section: CalibrationSection | None) -> Calibrations | None:
    """What was fitted to a checkpoint; None where the run declares none.

    Raises:
        CheckpointError: If the run declares one and it is not there, is damaged, or was fitted to other weights.
    """
    if section is None:
        return None
    file = _place(checkpoint)
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        found, calibrations = content["checkpoint"], Calibrations.from_json(content["calibrations"])
    except FileNotFoundError:
        found, calibrations = None, Calibrations()
    except (ValueError, KeyError) as error:
        raise CheckpointError(message(f"{file} is damaged.", received=str(error))) from None
    if found != _fingerprint(checkpoint):
        received = "none" if found is None else "one of other weights"
        way_out = "Train the run to its end: calibrations are fitted last."
        raise CheckpointError(
            message(f"Checkpoint {checkpoint.stem!r} needs its calibration.", received=received, way_out=way_out)
        )
    return calibrations


def raw_columns(columns: Sequence[Column], calibrations: Calibrations | None) -> tuple[Column, ...]:
    """Columns of uncalibrated predictions, beside those that are calibrated: `click_raw`."""
    calibrated = {} if calibrations is None else calibrations.by_name
    return tuple(
        column._replace(name=f"{column.name}_raw", prediction=f"{column.prediction}_raw")
        for column in columns
        if column.prediction in calibrated
    )


def with_calibrated(predictions: Mapping[str, Tensor], calibrations: Calibrations) -> dict[str, Tensor]:
    """Calibrated predictions by name, on the host; those before it as `NAME_raw`."""
    found = dict(predictions)
    for name in calibrations.by_name:
        found[f"{name}_raw"] = predictions[name]
        found[name] = torch.from_numpy(calibrations.apply(name, predictions[name].cpu().numpy()))
    return found


def _place(checkpoint: Path) -> Path:
    return checkpoint.with_suffix(".calibration.json")


def _fingerprint(checkpoint: Path) -> str:
    with checkpoint.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
