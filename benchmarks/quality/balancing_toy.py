"""Where balancers end on the toy of Nash-MTL, from each of its five starts, with its own settings.

The published run is Adam at 1e-3 for 35,000 steps, the first loss a tenth of the second in size; with ten times the rate and a
tenth of the steps a method can go as far. A row is one start of one method: how far its end is
from the Pareto set, whose points lie up to 14 apart.

python benchmarks/quality/balancing_toy.py [--steps N] [--lr RATE] [--caveat TEXT]
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import nn

sys.path.insert(0, str(Path(__file__).parent.parent))

from _record import record, row

from polytask.balancers import BALANCERS, Balancer
from polytask.testing import NashToy

REACHED = 0.1
"""Distance to the Pareto set below which an end counts as on it: 10 to 100 steps of the rate."""


def makers() -> dict[str, Callable[[Sequence[str]], Balancer]]:
    """Methods as they are, but FAMO without decay, as its authors ran it here."""
    names = ("equal", "nash_mtl", "famo", "cagrad", "upgrad", "pcgrad", "imtl_g")
    found = {name: BALANCERS[name] for name in names}
    return {name: kind if name != "famo" else lambda tasks, kind=kind: kind(tasks, decay=0.0) for name, kind in found.items()}


def run(make: Callable[[Sequence[str]], Balancer], start: Sequence[float], *, lr: float, steps: int, shift: Sequence[float]):
    """End of one run, and the first step within `REACHED` (looked at every 100 steps)."""
    problem, x = NashToy(), nn.Parameter(torch.tensor(start, dtype=torch.float64))
    balancer = make(problem.tasks)
    optimizer = torch.optim.Adam([x, *balancer.parameters()], lr=lr)

    def losses():
        return {name: loss - least for (name, loss), least in zip(problem.losses(x).items(), shift, strict=True)}

    first = None
    for step in range(1, steps + 1):
        optimizer.zero_grad()
        balancer.backward(losses(), shared=[x])
        optimizer.step()
        with torch.no_grad():
            balancer.after_step(losses)
        if first is None and step % 100 == 0 and problem.distance(x.detach()) < REACHED:
            first = step
    return problem.distance(x.detach()), x.detach(), first


def main() -> None:
    parser = argparse.ArgumentParser(description="Where balancers end on the toy of Nash-MTL.")
    parser.add_argument("--steps", type=int, default=35_000)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--caveat", default="")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    problem, rows = NashToy(), []
    for name, make in makers().items():
        for start in problem.starts:
            shift = problem.least if name == "famo" else (0.0, 0.0)
            distance, end, first = run(make, start, lr=arguments.lr, steps=arguments.steps, shift=shift)
            ends = ", ".join(f"{number:.2f}" for number in end.tolist())
            note = f"ends at ({ends})"
            rows.append(row(f"{name} from {start}", round(distance, 4), "distance to the front", note=note))
            rows[-1]["reached_at_step"] = first
            print(rows[-1], flush=True)
    title = f"Toy of Nash-MTL: distance to the Pareto set after {arguments.steps:,} steps of Adam at {arguments.lr:g}"
    record("balancing_toy", rows, title=title, caveat=arguments.caveat)


if __name__ == "__main__":
    main()
