"""What a monitor found, said once."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

CHANGED: Final = 0.1
"""Change of a finding's size from which it is said again: what is found moves by some per cent at every look."""


class Finding(NamedTuple):
    """One thing that is wrong with a model.

    Args:
        name: What it is: "dead units", "expert collapse", "expert degradation", "expert underfitting", ...
        place: Where: a layer, an expert, a task.
        size: How bad, from 0 to 1.
        text: What it is, where, its cause and a way out.
    """

    name: str
    place: str
    size: float
    text: str


def news(findings: Iterable[Finding], told: Mapping[str, float]) -> tuple[list[str], dict[str, float]]:
    """The texts that are new: not said yet, said of another size, or gone in between; and what has been said now.

    Args:
        findings: Everything that is wrong now.
        told: What the last call gave: the size of each finding when it was said.

    Example:
        >>> texts, told = news([Finding("dead units", "heads.tower", 0.6, "60% are dead")], {})
        >>> texts, told
        (['60% are dead'], {'dead units: heads.tower': 0.6})
        >>> news([Finding("dead units", "heads.tower", 0.65, "65% are dead")], told)
        ([], {'dead units: heads.tower': 0.6})
    """
    texts, known = [], {}
    for finding in findings:
        key = f"{finding.name}: {finding.place}"
        same = key in told and abs(finding.size - told[key]) <= CHANGED
        known[key] = told[key] if same else finding.size
        texts += [] if same else [finding.text]
    return texts, known
