"""What a space costs: throughput of training with it over that of the same model with plain losses.

One table of impressions (two id columns, two numbers), a chain click -> cart -> pay -> keep, MMoE, heads with one hidden layer,
Adam with touched rows of embeddings, batches of 1024 and 4096. Every space and the plain losses (`clicked`) take turns in one
process and one thread; CPU time; ratios within rounds, their median and an interval of order statistics (95 %). "clicked again"
is the noise.

`clicked` trains steps behind a click on clicked rows only, but computes them on all: what differs is the losses. Spaces that add
heads are larger models, and their ratio says so.

    python benchmarks/speed/entire_space_cost.py [--quick] [--only entire_space,dr] [--rows 1024,4096] [--seconds 300]
"""

import argparse
import math
import os
import statistics
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
sys.path.insert(1, str(Path(__file__).parents[1]))

import torch
from _record import record, row

from polytask.balancers import Equal
from polytask.batch import Batch, Features, Labels
from polytask.model import MultiTaskModel
from polytask.optimizers import build_optimizer
from polytask.spaces import SPACES
from polytask.tasks import Binary
from polytask.train import train_step
from polytask.train._malloc import keep_freed_memory

PLAIN, QUICK_ROUNDS, LEAST_ROUNDS, MOST_ROUNDS = "clicked", 15, 31, 401
STEPS = {"click": 0.1, "cart": 0.3, "pay": 0.4, "keep": 0.6}
COLUMNS = SimpleNamespace(
    categorical=(SimpleNamespace(name="user", size=20_000), SimpleNamespace(name="item", size=5_000)),
    numeric=(SimpleNamespace(name="age", edges=(-1.0, 0.0, 2.0)), SimpleNamespace(name="price", edges=(-1.0, 0.0, 2.0))),
    multi_valued=(),
)
OPTIONS: dict[str, dict[str, Any]] = {"entire_space_paths": {"actions": {}}}


def tasks() -> list[Binary]:
    names = list(STEPS)
    return [Binary(name, given=parent, base_rate=STEPS[name]) for name, parent in zip(names, [None, *names], strict=False)]


def batch(rows: int, generator: torch.Generator) -> Batch:
    """As a loader makes it: a step is observed where all before it happened."""
    ids = [torch.randint(0, column.size, (rows,), generator=generator, dtype=torch.int32) for column in COLUMNS.categorical]
    inside, labels = torch.ones(rows, dtype=torch.bool), {}
    for name, rate in STEPS.items():
        happens = torch.rand(rows, generator=generator) < rate
        labels[name] = Labels((inside & happens).float(), inside, int(inside.sum()))
        inside = inside & happens
    return Batch(Features(torch.stack(ids, 1), torch.randn(rows, 2, generator=generator)), labels)


class Arm:
    """A model and how it is trained."""

    def __init__(self, space: str, rows: int) -> None:
        torch.manual_seed(0)
        self.model = MultiTaskModel.build(
            COLUMNS,
            tasks(),
            encoder={"name": "tabular", "embedding_dim": 16, "numeric_dim": 16},
            sharing={"name": "mmoe", "num_experts": 4, "hidden": (128,)},
            heads={"hidden": (32,)},
            space={"name": space, **OPTIONS.get(space, {})},
        )
        self.balancer = Equal([task.name for task in self.model.tasks])
        self.optimizer = build_optimizer(self.model, self.balancer, lr=1e-4)
        generator = torch.Generator().manual_seed(1)
        self.batches = [batch(rows, generator) for _ in range(4)]
        self.taken = 0

    def step(self) -> float:
        """CPU seconds of one step."""
        rows = self.batches[self.taken % len(self.batches)]
        self.taken += 1
        start = time.thread_time()
        train_step(self.model, self.balancer, self.optimizer, rows)
        return time.thread_time() - start


def turns(arms: dict[str, Arm], seconds: float, *, quick: bool) -> dict[str, list[float]]:
    """CPU seconds of steps, a round after the other, each in a new order."""
    names, times = list(arms), {name: [] for name in arms}
    for _ in range(3):  # what memory and libraries set up at first
        started = time.perf_counter()
        for name in names:
            arms[name].step()
    pace = time.perf_counter() - started
    for _ in range(QUICK_ROUNDS if quick else min(MOST_ROUNDS, max(LEAST_ROUNDS, int(seconds / pace)))):
        names = [*names[1:], names[0]]
        for name in names:
            times[name].append(arms[name].step())
    return times


def throughput(ours: list[float], theirs: list[float]) -> tuple[float, tuple[float, float]]:
    """Median of the ratios of rows a second within rounds, and its interval from order statistics: 95 % or more."""
    values = sorted(b / a for a, b in zip(ours, theirs, strict=True))
    n, tail, out = len(values), 0.0, 0
    while out < n // 2 and 2 * (tail + math.comb(n, out) / 2**n) <= 0.05:
        tail += math.comb(n, out) / 2**n
        out += 1
    edge = max(out - 1, 0)
    return round(statistics.median(values), 3), (round(values[edge], 3), round(values[n - 1 - edge], 3))


def cell(names: list[str], rows: int, seconds: float, *, quick: bool) -> list[dict[str, Any]]:
    arms = {
        PLAIN: Arm(PLAIN, rows),
        "clicked again": Arm(PLAIN, rows),
        **{name: Arm(name, rows) for name in names if name != PLAIN},
    }
    times = turns(arms, seconds, quick=quick)
    found = []
    for name in list(arms)[1:]:
        value, interval = throughput(times[name], times[PLAIN])
        heads = len(arms[name].model.tasks) - len(STEPS)
        line = row(f"batches of {rows}: {name}", value, "x", interval=interval, against=PLAIN)
        line |= {"heads": heads, "step_ms": round(1e3 * statistics.median(times[name]), 2), "rounds": len(times[name])}
        found.append(line)
        print(f"{line['what']}: {value} {interval}, {heads} heads more, {line['step_ms']} ms", flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default=",".join(SPACES), help="spaces")
    parser.add_argument("--rows", default="1024,4096", help="sizes of a batch")
    parser.add_argument("--seconds", type=float, default=300, help="of all rounds together; a size has 31 rounds at least")
    parser.add_argument("--quick", action="store_true", help="15 rounds; nothing is recorded")
    parser.add_argument("--caveat", default="", help="what holds against the numbers, such as a busy machine")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    sizes = [int(size) for size in options.rows.split(",")]
    found: list[dict[str, Any]] = []
    for size in sizes:
        found += cell(options.only.split(","), size, options.seconds / len(sizes), quick=options.quick)
    if not options.quick:
        about = "CPU time of one thread; whole steps, Adam with touched rows of embeddings; a ratio above 1 is faster."
        title = "Throughput of training with each space against plain losses of the same model"
        record("entire_space_cost", found, title=title, seeds=[0], caveat=" ".join(filter(None, [about, options.caveat])))


if __name__ == "__main__":
    main()
