"""What position and device do to labels, and how a model is kept from learning it: one declared choice of a run."""

from polytask.biases._base import Bias, Corrected, Curve, Seen
from polytask.biases._examination import (
    Counts,
    PositionModel,
    em_step,
    estimate_examination,
    examination_of_random,
    fit_position_model,
)
from polytask.biases._inverse_propensity import InversePropensity
from polytask.biases._position_adversary import PositionAdversary
from polytask.biases._position_feature import PositionFeature
from polytask.biases._shallow_tower import ShallowTower, logit_of_product

BIASES: dict[str, type[Bias]] = {
    "shallow_tower": ShallowTower,
    "inverse_propensity": InversePropensity,
    "position_feature": PositionFeature,
    "position_adversary": PositionAdversary,
}

__all__ = [
    "BIASES",
    "Bias",
    "Corrected",
    "Counts",
    "Curve",
    "InversePropensity",
    "PositionAdversary",
    "PositionFeature",
    "PositionModel",
    "Seen",
    "ShallowTower",
    "em_step",
    "estimate_examination",
    "examination_of_random",
    "fit_position_model",
    "logit_of_product",
]
