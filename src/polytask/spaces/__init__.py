"""Spaces: how rows outside of a task's sample space (`given`) are treated."""

from polytask.spaces._base import Space
from polytask.spaces._clicked import Clicked
from polytask.spaces._counterfactual import Counterfactual
from polytask.spaces._division import Division
from polytask.spaces._dr import DR
from polytask.spaces._entire_space import EntireSpace
from polytask.spaces._entire_space_paths import EntireSpacePaths
from polytask.spaces._ips import IPS
from polytask.spaces._judged import Joint
from polytask.spaces._oversample import Oversample
from polytask.spaces._rejection import Rejection
from polytask.spaces._snips import SNIPS
from polytask.spaces._unclicked_negative import UnclickedNegative

SPACES: dict[str, type[Space]] = {
    "clicked": Clicked,
    "unclicked_negative": UnclickedNegative,
    "oversample": Oversample,
    "rejection": Rejection,
    "division": Division,
    "entire_space": EntireSpace,
    "entire_space_paths": EntireSpacePaths,
    "ips": IPS,
    "snips": SNIPS,
    "dr": DR,
    "counterfactual": Counterfactual,
}

__all__ = [
    "DR",
    "IPS",
    "SNIPS",
    "SPACES",
    "Clicked",
    "Counterfactual",
    "Division",
    "EntireSpace",
    "EntireSpacePaths",
    "Joint",
    "Oversample",
    "Rejection",
    "Space",
    "UnclickedNegative",
]
