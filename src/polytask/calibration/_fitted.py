"""The calibrations of all tasks of a run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, final

import numpy as np
from jaxtyping import Float

from polytask.calibration._base import Calibration, calibration_from_json, calibration_to_json


@final
@dataclass(frozen=True)
class Calibrations:
    """Calibrations by what they are for: a task's name, or that of a joint prediction such as `click_and_buy`.

    Example:
        >>> from polytask.calibration import Platt
        >>> both = Calibrations({"click": Platt(slope=1.0, offset=-1.0)})
        >>> Calibrations.from_json(both.to_json()) == both
        True

    Args:
        by_name: The calibrations; what has none is left as it is.
    """

    by_name: Mapping[str, Calibration] = field(default_factory=dict)

    def apply(self, name: str, prediction: Float[np.ndarray, "n ..."]) -> Float[np.ndarray, "n ..."]:
        """Calibrated predictions of a task; as they are where it has no calibration."""
        return self.by_name[name].apply(prediction) if name in self.by_name else prediction

    def to_json(self) -> dict[str, Any]:
        """As JSON values; read back exactly."""
        return {name: calibration_to_json(calibration) for name, calibration in self.by_name.items()}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "Calibrations":
        """What `to_json` wrote.

        Raises:
            ConfigError: If a calibration is unknown or incomplete.
        """
        return cls({name: calibration_from_json(found) for name, found in values.items()})
