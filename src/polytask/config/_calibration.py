"""Binds `[calibration]`: which method, and which predictions stay as they are."""

from collections.abc import Sequence

from polytask.calibration import CALIBRATIONS
from polytask.config._sections import CalibrationSection, DataSection
from polytask.config._tables import Tables
from polytask.spaces import Clicked
from polytask.tasks import Task


def bind_calibration(tables: Tables, tasks: Sequence[Task], data: DataSection | None) -> CalibrationSection | None:
    """The section, or None where it was not written or has a mistake.

    Args:
        tables: What was declared.
        tasks: The declared tasks, as far as they have no mistake.
        data: Where rows come from; None where there is a mistake.
    """
    if "calibration" not in tables.written:
        return None
    section = tables.section("calibration", CalibrationSection)
    if section is None:
        return None
    tables.resolved["calibration"] = section.table()
    if section.name not in CALIBRATIONS:
        tables.mistakes.unnamed("calibration.name", section.name, CALIBRATIONS, "calibration")
        return None
    if data is not None and not _has_validation(tables, data):
        way_out = "Set data.valid or data.split."
        tables.mistakes.add("calibration", "Calibration is fitted on validation rows.", "no validation rows", way_out)
    if len(tasks) == len(tables.items("task")) and not tables.mistakes.found:
        _check_tasks(tables, section, tasks)
    return section


def _has_validation(tables: Tables, data: DataSection) -> bool:
    generated = "generator" in tables.get("data") and len(data.rows) > 1
    return bool(data.valid or data.split or generated)


def _check_tasks(tables: Tables, section: CalibrationSection, tasks: Sequence[Task]) -> None:
    space = Clicked(tasks)
    names = [task.name for task in space.served] + [joint.name for joint in space.joints()]
    for name in section.skip:
        if name not in names:
            tables.mistakes.unnamed("calibration.skip", name, names, "prediction")
    kinds = CALIBRATIONS[section.name].kinds
    if not any(task.kind in kinds for task in space.served):
        received = ", ".join(dict.fromkeys(task.kind for task in space.served))
        expected = f"{section.name!r} calibrates tasks of kind {' and '.join(kinds)}."
        tables.mistakes.add("calibration.name", expected, received, "Remove [calibration].")
