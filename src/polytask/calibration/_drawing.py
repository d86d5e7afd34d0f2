"""Reliability diagrams as one self-contained SVG: no script, no font, no network."""

import math
from collections.abc import Mapping, Sequence
from html import escape

from polytask.calibration._reliability import Reliability

_SIDE, _LEFT, _TOP, _GAP, _BELOW = 260, 56, 34, 40, 46
_COLOURS = ("#1f5fa8", "#c2571a", "#2c7f4f", "#7a3f98")  # apart for those who see no red or green, too
_LOGARITHMIC_BELOW = 0.2
"""Where no bin predicts more, rates are rare and lie in a corner of a straight scale."""

Curves = Mapping[str, Sequence[Reliability]]


def reliability_svg(diagrams: Mapping[str, Curves]) -> str:
    """One diagram a task, side by side; each may hold several curves, such as raw and calibrated.

    A bin is a dot at mean prediction and observed rate with its 95 % interval; on the diagonal the two agree. Rare events have
    logarithmic scales.

    Args:
        diagrams: By title, bins (`reliability`) by the name of their curve.

    Example:
        >>> drawing = reliability_svg({"click": {"raw": [Reliability(50, 1.0, 0.3, 0.2, 0.1, 0.4)]}})
        >>> drawing.startswith("<svg"), "click" in drawing
        (True, True)
    """
    width = _LEFT + len(diagrams) * (_SIDE + _GAP + _LEFT)
    height = _TOP + _SIDE + _BELOW
    style = 'font-family="sans-serif" font-size="11" fill="#222"'
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" {style}>']
    parts.append(f'<rect width="{width}" height="{height}" fill="#fff"/>')
    for place, (title, curves) in enumerate(diagrams.items()):
        left = _LEFT + place * (_SIDE + _GAP + _LEFT)
        parts += [f'<g transform="translate({left} {_TOP})">', *_diagram(title, curves), "</g>"]
    return "\n".join([*parts, "</svg>"]) + "\n"


class _Scale:
    """From a rate to a place on an axis.

    Args:
        bins: All that is to be seen.
    """

    def __init__(self, bins: Sequence[Reliability]) -> None:
        rates = [rate for found in bins for rate in (found.predicted, found.observed, found.high) if rate > 0]
        self.logarithmic = bool(rates) and max(found.predicted for found in bins) < _LOGARITHMIC_BELOW
        self.low = 10 ** math.floor(math.log10(min(rates))) if self.logarithmic else 0.0
        most = max(rates, default=1.0)
        self.high = 10 ** math.ceil(math.log10(most)) if self.logarithmic else min(math.ceil(most * 10) / 10, 1.0)

    def place(self, rate: float) -> float:
        """Share of the axis; what is below its start stands there."""
        if not self.logarithmic:
            return rate / self.high
        rate = max(rate, self.low)
        return math.log(rate / self.low) / math.log(self.high / self.low)

    def ticks(self) -> list[float]:
        """Powers of ten, or fifths."""
        if not self.logarithmic:
            return [self.high * step / 5 for step in range(6)]
        decades = round(math.log10(self.high / self.low))
        return [self.low * 10**step for step in range(decades + 1)]


def _diagram(title: str, curves: Curves) -> list[str]:
    scale = _Scale([found for bins in curves.values() for found in bins])
    parts = [f'<text x="0" y="-12" font-weight="bold">{escape(title)}</text>']
    parts.append(f'<rect width="{_SIDE}" height="{_SIDE}" fill="none" stroke="#999"/>')
    parts.append(f'<line x1="0" y1="{_SIDE}" x2="{_SIDE}" y2="0" stroke="#999" stroke-dasharray="4 3"/>')
    for tick in scale.ticks():
        at, name = scale.place(tick) * _SIDE, f"{tick:.3g}"
        parts.append(f'<text x="{at:.1f}" y="{_SIDE + 15}" text-anchor="middle">{name}</text>')
        parts.append(f'<text x="-6" y="{_SIDE - at + 4:.1f}" text-anchor="end">{name}</text>')
    parts.append(f'<text x="{_SIDE / 2}" y="{_SIDE + 32}" text-anchor="middle">predicted</text>')
    parts.append(f'<text transform="translate(-42 {_SIDE / 2}) rotate(-90)" text-anchor="middle">observed</text>')
    for number, (name, bins) in enumerate(curves.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        parts.append(f'<text x="8" y="{16 + 14 * number}" fill="{colour}">{escape(name)}</text>')
        parts += [_dot(found, scale, colour) for found in bins]
    return parts


def _dot(found: Reliability, scale: _Scale, colour: str) -> str:
    x, y, top, bottom = (scale.place(rate) * _SIDE for rate in (found.predicted, found.observed, found.high, found.low))
    words = f"{found.rows} rows: predicted {found.predicted:.4g}, observed {found.observed:.4g}"
    line = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{_SIDE - bottom:.1f}" y2="{_SIDE - top:.1f}" stroke="{colour}"/>'
    dot = f'<circle cx="{x:.1f}" cy="{_SIDE - y:.1f}" r="3.5" fill="{colour}"><title>{escape(words)}</title></circle>'
    return line + dot
