"""Fits the calibrations that a run declares, on its validation rows, to every checkpoint it keeps."""

from polytask.config import RunConfig
from polytask.data import Loader
from polytask.run._calibrations import write_calibrations
from polytask.run._directory import RunDirectory
from polytask.run._fitted import load
from polytask.run._gathered import fit_calibrations, gather
from polytask.run._prepare import Prepared

_ROWS = 8192


def calibrate_run(place: RunDirectory, config: RunConfig, prepared: Prepared) -> None:
    """Writes a calibration beside each checkpoint; nothing where the run declares none.

    What has no labelled validation row is left as it is.

    Args:
        place: Directory of a run of which the training is finished.
        config: Its configuration.
        prepared: Its rows.
    """
    section = config.calibration
    if section is None or "valid" not in prepared.rows:
        return
    for checkpoint in sorted(place.checkpoint("latest").parent.glob("*.safetensors")):
        fitted = load(place.path, checkpoint=checkpoint.stem, device=config.plan.device, raw=True)
        loader = Loader(prepared.rows["valid"], prepared.preprocessing.tasks, batch_size=_ROWS, shuffle=False)
        found = gather(fitted.model, loader, device=fitted.device, precision=fitted.precision)
        write_calibrations(checkpoint, fit_calibrations(found, section.name, joint=section.joint, skip=section.skip))
