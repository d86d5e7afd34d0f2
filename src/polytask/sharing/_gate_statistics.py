"""What the gates of a mixture do: how sharply they choose, how far apart tasks are, which experts are used."""

import itertools
import math
from collections.abc import Sequence
from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

_POLARISED = 0.95
"""Mean share of one expert from which a task counts as kept to it; a uniform gate over 8 experts has 0.125."""


@final
class GateStatistics:
    """Sums over batches from which the statistics of all rows follow; nothing waits for the device until `compute`.

    `compute` gives, by name:

    - `entropy/TASK`: mean over rows of the gate's entropy, as a share of `log e`: 0 one expert, 1 all alike.
    - `kl/TASK/OTHER`: mean over rows of `(KL(p, q) + KL(q, p)) / 2` in nats, over the experts both look at, renormalised.
    - `use/TASK/I`: mean gate of expert I; `top/TASK/I`: share of rows on which it is the task's largest.
    - `polarised/TASK`: 1.0 if one expert has more than 0.95 of the task's mean gate, else 0.0; `polarised` is their maximum.

    Args:
        tasks: Names of the k tasks, in the order of the gates.

    Example:
        >>> statistics = GateStatistics(["click", "buy"])
        >>> statistics.update(torch.tensor([[[0.5, 0.5]], [[0.0, 1.0]]]))
        >>> values = statistics.compute()
        >>> round(values["entropy/click"], 4), values["entropy/buy"], values["polarised/buy"]
        (1.0, 0.0, 1.0)
    """

    def __init__(self, tasks: Sequence[str]) -> None:
        self.tasks = tuple(tasks)
        self._pairs = list(itertools.combinations(range(len(self.tasks)), 2))
        self._num_rows = 0
        self._sums: list[Tensor] = []

    @torch.no_grad()
    def update(self, gates: Float[Tensor, "k n e"]) -> None:
        """Adds the gates of n rows (`Shared.gates`)."""
        gates = gates.detach().to(torch.promote_types(gates.dtype, torch.float32))
        top = torch.nn.functional.one_hot(gates.argmax(-1), gates.shape[-1])
        divergence = [_divergence(gates[a], gates[b]) for a, b in self._pairs]
        new = [torch.special.entr(gates).sum((1, 2)), gates.sum(1), top.sum(1), torch.stack([*divergence, gates.new_zeros(())])]
        self._sums = [old + sums for old, sums in zip(self._sums, new, strict=True)] if self._sums else new
        self._num_rows += gates.shape[1]

    def compute(self) -> dict[str, float]:
        """The statistics over all rows so far; empty before the first."""
        if not self._num_rows:
            return {}
        entropy, use, top, divergence = ((sums / self._num_rows).tolist() for sums in self._sums)
        values: dict[str, float] = {}
        for task, bits, shares, tops in zip(self.tasks, entropy, use, top, strict=True):
            values[f"entropy/{task}"] = bits / math.log(len(shares)) if len(shares) > 1 else 1.0
            values |= {f"use/{task}/{i}": share for i, share in enumerate(shares)}
            values |= {f"top/{task}/{i}": share for i, share in enumerate(tops)}
            values[f"polarised/{task}"] = float(len(shares) > 1 and max(shares) > _POLARISED)
        for (a, b), value in zip(self._pairs, divergence, strict=False):
            values[f"kl/{self.tasks[a]}/{self.tasks[b]}"] = value
        values["polarised"] = max(values[f"polarised/{task}"] for task in self.tasks)
        return values


def gate_statistics(gates: Float[Tensor, "k n e"], tasks: Sequence[str]) -> dict[str, float]:
    """`GateStatistics` of one batch.

    Example:
        >>> round(gate_statistics(torch.tensor([[[0.5, 0.5]], [[0.25, 0.75]]]), ["a", "b"])["kl/a/b"], 4)
        0.1373
    """
    statistics = GateStatistics(tasks)
    statistics.update(gates)
    return statistics.compute()


def _divergence(p: Float[Tensor, "n e"], q: Float[Tensor, "n e"]) -> Float[Tensor, ""]:
    both = (p > 0) & (q > 0)
    p, q = (torch.where(both, gate, 0.0) / torch.where(both, gate, 0.0).sum(-1, keepdim=True).clamp_min(1e-30) for gate in (p, q))
    ratio = torch.where(both, p.clamp_min(1e-30).log() - q.clamp_min(1e-30).log(), 0.0)
    return ((p - q) * ratio).sum() / 2
