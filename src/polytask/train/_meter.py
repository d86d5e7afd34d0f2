"""Losses of the last steps, left on the device until somebody looks."""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, final

import torch
from torch import Tensor

from polytask.balancers import Balance


class Failure(NamedTuple):
    """The first step whose loss was no number.

    Args:
        step: Which optimizer step.
        losses: Every task's loss at that step that was not finite.
    """

    step: int
    losses: dict[str, float]


class _Row(NamedTuple):
    step: int
    losses: dict[str, float]
    weights: dict[str, float]


@final
class Meter:
    """Collects what each step decided and averages it over an interval.

    Adding costs nothing on the device; reading moves everything added since the last look to the host in one copy. A task
    is averaged over the batches in which it was present.

    Example:
        >>> meter = Meter()
        >>> meter.add(1, [Balance({"click": torch.tensor(2.0)}, {"click": torch.tensor(1.0)})], num_rows=8)
        >>> meter.add(2, [Balance({}, {})], num_rows=8)
        >>> meter.add(3, [Balance({"click": torch.tensor(4.0)}, {"click": torch.tensor(1.0)})], num_rows=8)
        >>> meter.means()
        {'loss': {'click': 3.0}, 'weight': {'click': 1.0}}
    """

    def __init__(self) -> None:
        self.num_rows = 0
        self._waiting: list[tuple[int, Balance]] = []
        self._rows: list[_Row] = []
        self._failure: Failure | None = None

    def add(self, step: int, balances: Sequence[Balance], *, num_rows: int) -> None:
        """Takes the balances of one step (several where gradients were accumulated)."""
        self.num_rows += num_rows
        self._waiting += [(step, balance) for balance in balances if balance.losses]

    def first_failure(self) -> Failure | None:
        """The first step since `clear` with a loss that is not finite."""
        self._read()
        return self._failure

    def means(self) -> dict[str, dict[str, float]]:
        """Mean loss and mean weight of each task."""
        rows = self._read()
        return {"loss": _means([row.losses for row in rows]), "weight": _means([row.weights for row in rows])}

    def clear(self) -> None:
        """Starts the next interval."""
        self.num_rows, self._waiting, self._rows, self._failure = 0, [], [], None

    def state_dict(self) -> dict[str, Any]:
        """The interval so far, as plain values."""
        return {"num_rows": self.num_rows, "rows": [list(row) for row in self._read()]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes up an interval."""
        self.num_rows, self._waiting = state["num_rows"], []
        self._rows = [_Row(*row) for row in state["rows"]]

    def _read(self) -> list[_Row]:
        if self._waiting:
            scalars: list[Tensor] = []
            for _, balance in self._waiting:
                scalars += [*balance.losses.values(), *balance.weights.values()]
            numbers = iter(torch.stack([scalar.float() for scalar in scalars]).tolist())
            for step, balance in self._waiting:
                losses = {name: next(numbers) for name in balance.losses}
                self._rows.append(_Row(step, losses, {name: next(numbers) for name in balance.weights}))
                broken = {name: loss for name, loss in losses.items() if not math.isfinite(loss)}
                if broken and self._failure is None:
                    self._failure = Failure(step, broken)
            self._waiting = []
        return self._rows


def _means(rows: Sequence[dict[str, float]]) -> dict[str, float]:
    names = list(dict.fromkeys(name for row in rows for name in row))
    values = {name: [row[name] for row in rows if name in row] for name in names}
    return {name: math.fsum(found) / len(found) if all(map(math.isfinite, found)) else math.nan for name, found in values.items()}
