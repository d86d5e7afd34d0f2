"""A shallow tower that takes the position upon itself, so that the model need not."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, cast, final

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import embedding

from polytask.batch import Features
from polytask.biases._base import Bias, Corrected, Curve, Seen
from polytask.encoders import FittedColumns
from polytask.errors import ConfigError, message, nearest
from polytask.sharing import PerTask

_PACE = 10
"""A logit of the tower is this many times its parameter, so that under Adam, whose steps have the size of the rate, a table of
logits learns as fast as a network in front of it. At one rate the network takes up what the table has not learnt yet: on 100,000
simulated rows the curve was then off by a factor of 3 at worst, not by a tenth, and NDCG was .95, not .98."""

_NEWTON_STEPS = 20
"""A step is at most 1, and biases span a few logits; near the end the error squares in every step."""


@final
class ShallowTower(Bias):
    """A logit for each position and device, beside the model's, in training only.

    `logit p(click) = f(x) + b[position, device]` (link "logit") or `p(click) = σ(f(x)) σ(b[position, device])` (link "product");
    `b = main[position] + main[device] + cell[position, device]`. With probability `dropout` a row's columns count as missing, so
    that `b[missing]` is learnt: that is what is served, a score on the scale of clicks at the positions of the log.

    Prefer it wherever clicks depend on the position and positions vary for alike items: it costs nothing in serving. Take the
    link "product" where a look is a matter of place alone, as in lists that are read from the top: then the curve is the
    examination. Take "logit" where clicks are rare (both are the same there) or position acts otherwise. Not where an item always
    stands at one place: nothing can tell its relevance from its position, and no remedy helps.

    Cost: one look-up a task and step, in training; a number for each position and device.

    Source: Zhao et al., RecSys 2019, "Recommending What Video to Watch Next", its part on position bias (section numbers were
    not at hand): position and device type into a shallow tower, its logit added, 10 % drop-out, missing in serving.

    Differs: a crossed table with main effects in place of a small network: there is a number for each way of being shown and
    nothing between them to interpolate. Rows whose columns are dropped teach `b[missing]` and not the model: they would teach it
    what no correction teaches. The link "product" is the position-based model.

    Args:
        preprocessing: Fitted columns, the bias columns among the categorical ones.
        columns: Bias columns, the position first.
        tasks: Names of the binary tasks whose labels depend on them, each with a tower of its own.
        known: Those of `columns` that are known when rows are scored, such as the device: the encoder reads them as well.
        dropout: Share of rows whose bias columns count as missing.
        link: "logit" adds to the logit, "product" multiplies the probability.

    Raises:
        ConfigError: If a column or the link is unknown, or the drop-out is not in [0, 1).

    Example:
        >>> from polytask.data import CategoricalField, Preprocessing
        >>> from polytask.data.vocabulary import Vocabulary
        >>> position = CategoricalField("position", Vocabulary("integer", (1, 2, 3)))
        >>> tower = ShallowTower(Preprocessing((position,), (), (), ()), columns=["position"], tasks=["click"])
        >>> [(line["position"], line["examination"]) for line in tower.curve()]
        [(1, 1.0), (2, 1.0), (3, 1.0)]
    """

    def __init__(
        self,
        preprocessing: FittedColumns,
        *,
        columns: Sequence[str],
        tasks: Sequence[str],
        known: Sequence[str] = (),
        dropout: float = 0.1,
        link: str = "logit",
    ) -> None:
        super().__init__(preprocessing, columns=columns, tasks=tasks, known=known)
        if not 0 <= dropout < 1:
            raise ConfigError(message("The drop-out of a bias is a share of rows in [0, 1).", received=dropout))
        if link not in ("logit", "product"):
            way_out = nearest(link, ("logit", "product"))
            raise ConfigError(message("Unknown link of a shallow tower.", received=repr(link), way_out=way_out))
        self.dropout, self.link = dropout, link
        self.towers = PerTask({task: _Tower(self.sizes) for task in self.tasks})

    def correct(self, by_task: Mapping[str, Float[Tensor, "n _"]], shown: Features, shared: Float[Tensor, "k n *h"]) -> Corrected:  # noqa: ARG002
        """Outputs with the bias of each row; one draw says which rows' columns are dropped, for all tasks."""
        cell = self.cells(shown)
        dropped = torch.rand(len(cell), device=cell.device) < self.dropout
        cell = torch.where(dropped, 0, cell)
        outputs = dict(by_task)
        for task in self.tasks:
            bias = cast("_Tower", self.towers.of(task))(cell)
            own = torch.where(dropped[:, None], outputs[task].detach(), outputs[task])
            outputs[task] = self.linked(own, bias)
        return Corrected(outputs)

    def served(self, by_task: dict[str, Float[Tensor, "n _"]]) -> dict[str, Float[Tensor, "n _"]]:
        """Outputs with what was learnt for missing columns: one number a task, whatever the columns hold."""
        missing = {task: self.logits(task).flatten()[:1].expand(len(by_task[task])) for task in self.tasks}
        return dict(by_task) | {task: self.linked(by_task[task], bias) for task, bias in missing.items()}

    def logits(self, task: str) -> Float[Tensor, "*sizes"]:
        """The bias of every combination of ids."""
        return cast("_Tower", self.towers.of(task)).table()

    def curve(self, seen: Seen | None = None) -> Curve:
        """Logit and examination by position, relative to the first position of the same device.

        Examination is the ratio of click probabilities. Without rows it is that of the table as it was learnt, `σ(b) / σ(b_1)`,
        and with the link "logit" that of rare clicks, `exp(b - b_1)`. With rows the bias is what makes the clicks expected at a
        position those that came, given the model: with the link "product" clicks over the sum of `σ(f)`. That is the optimum
        which the steps of training scatter around: on a million rows the error was half as large.
        """
        with torch.no_grad():
            return [line for task in self.tasks for line in self._lines(task, seen)]

    def _lines(self, task: str, seen: Seen | None) -> Curve:
        logits = self.logits(task).flatten().double()
        rate = logits.sigmoid() if self.link == "product" else logits.exp()
        if seen is not None:
            logits, rate = self._refined(task, seen, logits)
        return [
            {"task": task, **about, "logit": float(logits[cell] - logits[first]), "examination": float(rate[cell] / rate[first])}
            for cell, first, about in self.lines()
        ]

    def _refined(self, task: str, seen: Seen, logits: Float[Tensor, " m"]) -> tuple[Float[Tensor, " m"], Float[Tensor, " m"]]:
        """Logits and click probabilities of each cell that fit the clicks in it, the model's own outputs being right."""
        rows = seen.labels[task].observed
        served, cell, click = (
            seen.outputs[task].flatten()[rows].double(),
            self.cells(seen.features)[rows],
            seen.labels[task].value,
        )
        clicks = _sums(cell, click[rows].double(), len(logits))
        if self.link == "product":
            relevance = served.sigmoid() / logits[0].sigmoid()
            rate = torch.where(clicks > 0, clicks / _sums(cell, relevance, len(logits)), logits.sigmoid())
            return logits, rate
        own, found = served - logits[0], logits.clone()
        for _ in range(_NEWTON_STEPS):
            p = (own + found[cell]).sigmoid()
            step = (clicks - _sums(cell, p, len(logits))) / _sums(cell, p * (1 - p), len(logits))
            found += torch.where(clicks > 0, step.clamp(-1, 1), 0.0)
        return found, torch.stack([(own + logit).sigmoid().mean() for logit in found])

    def linked(self, own: Float[Tensor, "n 1"], bias: Float[Tensor, " n"]) -> Float[Tensor, "n 1"]:
        """The model's output with a bias, as the link has it."""
        bias = bias.to(own.dtype)[:, None]
        return own + bias if self.link == "logit" else logit_of_product(own, bias)


class _Tower(nn.Module):
    """Main effects of each column, and a number for each combination: zero at first."""

    def __init__(self, sizes: Sequence[int]) -> None:
        super().__init__()
        self.sizes = tuple(sizes)
        self.main = nn.ParameterList(torch.zeros(size) for size in sizes)
        self.cell = nn.Parameter(torch.zeros(math.prod(sizes))) if len(sizes) > 1 else None

    def table(self) -> Float[Tensor, "*sizes"]:
        total: Any = 0 if self.cell is None else self.cell.view(self.sizes)
        for place, main in enumerate(self.main):
            total = total + main.view([-1 if axis == place else 1 for axis in range(len(self.sizes))])
        return cast("Tensor", _PACE * total)

    def forward(self, cell: Int[Tensor, " n"]) -> Float[Tensor, " n"]:
        return embedding(cell, self.table().flatten()[:, None]).squeeze(1)


def _sums(cell: Int[Tensor, " n"], values: Float[Tensor, " n"], size: int) -> Float[Tensor, " m"]:
    return torch.zeros(size, dtype=values.dtype, device=values.device).index_add_(0, cell, values)


def logit_of_product(a: Float[Tensor, "*n"], b: Float[Tensor, "*n"]) -> Float[Tensor, "*n"]:
    """Log-odds of `σ(a) σ(b)`: `-log(exp(-a) + exp(-b) + exp(-a - b))`, exact where either is certain.

    Example:
        >>> product = logit_of_product(torch.tensor(0.0), torch.tensor(0.0)).sigmoid()
        >>> round(float(product), 6)
        0.25
    """
    return -torch.logsumexp(torch.stack([-a, -b, -a - b]), dim=0)
