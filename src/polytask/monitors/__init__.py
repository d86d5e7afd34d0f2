"""Watches what training does to a model: dead units, and the three ills of mixtures of experts."""

from polytask.monitors._dead_units import FLAGGED, LayerUnits, dead_units
from polytask.monitors._expert_collapse import COLLAPSED, ExpertZeros, expert_zeros
from polytask.monitors._findings import Finding, news
from polytask.monitors._gate_findings import gate_findings
from polytask.monitors._observer import Look, Observer

__all__ = [
    "COLLAPSED",
    "FLAGGED",
    "ExpertZeros",
    "Finding",
    "LayerUnits",
    "Look",
    "Observer",
    "dead_units",
    "expert_zeros",
    "gate_findings",
    "news",
]
