"""A picture of trials and their front: an SVG of a few kilobytes that needs nothing else."""

from collections.abc import Collection, Sequence
from html import escape
from itertools import combinations

_SIDE, _MARGIN = 300, 56
_STYLE = "text{font:11px sans-serif;fill:#333}.axis{stroke:#999;fill:none}.trial{fill:#b8c4d0}.front{fill:#c0392b}"
Point = tuple[float, float]


def picture(values: Sequence[Sequence[float]], front: Collection[int], objectives: Sequence[str]) -> str:
    """One panel for each pair of objectives; of a single objective, its values by trial.

    Every point has a title with its trial and values, which a browser shows under the pointer.

    Example:
        >>> text = picture([(0.1, 3.0), (0.2, 1.0)], {0, 1}, ["ndcg@10:click", "auc:buy"])
        >>> text.count("<circle"), "ndcg@10:click" in text, "http" in text.replace("http://www.w3.org/2000/svg", "")
        (2, True, False)

    Args:
        values: Value of every objective, of every trial.
        front: Numbers of the trials of the front.
        objectives: Names of the objectives.
    """
    single = len(objectives) == 1
    panels = [("trial", objectives[0])] if single else list(combinations(objectives, 2))
    drawn = []
    for column, (across, up) in enumerate(panels):
        places = [objectives.index(name) for name in (across, up) if name in objectives]
        points = [(float(number), row[0]) for number, row in enumerate(values)] if single else []
        points = points or [(row[places[0]], row[places[1]]) for row in values]
        drawn.append(f'<g transform="translate({column * (_SIDE + 2 * _MARGIN)} 0)">{_panel(points, front, across, up)}</g>')
    width, height = len(panels) * (_SIDE + 2 * _MARGIN), _SIDE + 2 * _MARGIN
    head = f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}">'
    return f"{head}<style>{_STYLE}</style>{''.join(drawn)}</svg>\n"


def _panel(points: Sequence[Point], front: Collection[int], across: str, up: str) -> str:
    x, y = _Axis([point[0] for point in points]), _Axis([point[1] for point in points])
    end = _MARGIN + _SIDE
    parts = [
        f'<path class="axis" d="M{_MARGIN} {_MARGIN}V{end}H{end}"/>',
        f'<text x="{_MARGIN + _SIDE / 2}" y="{end + 40}" text-anchor="middle">{escape(across)}</text>',
        f'<text transform="translate(14 {_MARGIN + _SIDE / 2}) rotate(-90)" text-anchor="middle">{escape(up)}</text>',
    ]
    for axis_end, anchor in ((0, "start"), (1, "end")):
        low = f"{(x.high if axis_end else x.low):.4g}"
        parts.append(f'<text x="{_MARGIN + axis_end * _SIDE}" y="{end + 16}" text-anchor="{anchor}">{low}</text>')
        side = f"{(y.high if axis_end else y.low):.4g}"
        parts.append(f'<text x="{_MARGIN - 4}" y="{end - axis_end * _SIDE}" text-anchor="end">{side}</text>')
    for chosen in (False, True):  # the front lies on top
        for number, point in enumerate(points):
            if (number in front) is chosen:
                title = f"trial {number}: {across} {point[0]:.6g}, {up} {point[1]:.6g}"
                place = f'cx="{_MARGIN + x(point[0]):.1f}" cy="{end - y(point[1]):.1f}"'
                look = 'class="front" r="4"' if chosen else 'class="trial" r="3"'
                parts.append(f"<circle {look} {place}><title>{escape(title)}</title></circle>")
    return "".join(parts)


class _Axis:
    """From values to pixels."""

    def __init__(self, values: Sequence[float]) -> None:
        self.low, self.high = min(values), max(values)

    def __call__(self, value: float) -> float:
        return _SIDE * ((value - self.low) / (self.high - self.low) if self.high > self.low else 0.5)
