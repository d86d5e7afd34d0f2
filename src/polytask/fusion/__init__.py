"""Fusion: one score from many predictions, by weights that are data, and the search for them on held-out logs."""

from polytask.fusion._base import Fusion
from polytask.fusion._curves import Curve, fit_curves
from polytask.fusion._json import fusion_from_json, fusion_to_json
from polytask.fusion._monotone_product import MonotoneProduct
from polytask.fusion._monotone_sum import MonotoneSum
from polytask.fusion._objectives import HeldOut, Objective
from polytask.fusion._one_plus_product import OnePlusProduct
from polytask.fusion._search import Searched, search_weights
from polytask.fusion._space import WeightSpace
from polytask.fusion._study import Budget, Trial
from polytask.fusion._weighted_product import WeightedProduct
from polytask.fusion._weighted_sum import WeightedSum

FUSIONS: dict[str, type[Fusion]] = {
    member.name: member for member in (MonotoneProduct, MonotoneSum, OnePlusProduct, WeightedProduct, WeightedSum)
}

__all__ = [
    "FUSIONS",
    "Budget",
    "Curve",
    "Fusion",
    "HeldOut",
    "MonotoneProduct",
    "MonotoneSum",
    "Objective",
    "OnePlusProduct",
    "Searched",
    "Trial",
    "WeightSpace",
    "WeightedProduct",
    "WeightedSum",
    "fit_curves",
    "fusion_from_json",
    "fusion_to_json",
    "search_weights",
]
