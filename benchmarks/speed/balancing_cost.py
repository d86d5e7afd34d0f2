"""Time and memory of a step that balances gradients, as a ratio to a plain step on the summed losses of the same model.

Trunks: an MLP of 256-512-512-256, an MMoE and a PLE of the same width; heads with one hidden layer of 64; batches of 1024; Adam.
Two kinds of model: one of torch modules alone, whose parting place is read off the graph, and the same of `polytask.sharing` and
`Heads`, whose plain step is the one that `Equal` takes. Every measure with UPGrad's solver, every other solver with the cheapest
measure, and TorchJD take turns in one process and one thread; CPU time; ratios within rounds, their median and an interval of
order statistics (95 %); "mean" is the ratio of the summed times, which sees what happens in some steps only. Memory is the peak
of what a step allocates above what it starts from, by the allocator's own record (`torch.profiler`), as a ratio too.

    python benchmarks/speed/balancing_cost.py [--quick] [--only own/mlp,library/mmoe] [--tasks 2,8,32] [--seconds 900]

TorchJD is optional (`pip install torchjd`) and refuses tasks with rows of their own. LibMTL 1.1.5 takes no part: its gradient
methods stop with an error from torch 2 on, where `zero_grad` leaves None.
"""

import argparse
import importlib.util
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
sys.path[1:1] = [str(Path(__file__).parents[1]), *filter(None, os.environ.get("RIVALS", "").split(os.pathsep))]

import torch
from _ratio import ratio
from _record import record, row
from torch import Tensor, nn

from polytask.balancers import measures, solvers
from polytask.balancers._gradient import GramianBalancer
from polytask.heads import Heads
from polytask.sharing import PLE, MMoE, Shared, SharedBottom
from polytask.tasks import Regression
from polytask.train._malloc import keep_freed_memory

ROWS, INPUTS, HIDDEN, TOWER = 1024, 256, (512, 512, 256), 64
EXPERTS, EXPERT = 8, (128, 128)
PLAIN, QUICK_ROUNDS, LEAST_ROUNDS, MOST_ROUNDS = "plain sum", 7, 11, 101


def mean_gradient(gramian: Tensor) -> Tensor:
    tasks = len(gramian)
    return torch.full((tasks, tasks), 0.0, dtype=gramian.dtype) + torch.eye(tasks, dtype=gramian.dtype) / tasks


SOLVERS: dict[str, Callable[[Tensor], Tensor]] = {
    "UPGrad": lambda g: solvers.dual_cone_weights(g, mean_gradient(g)).sum(0),
    "MGDA": solvers.min_norm_weights,
    "CAGrad": lambda g: solvers.conflict_averse_weights(g, 0.4),
    "Nash-MTL": solvers.nash_weights,
    "Aligned-MTL": solvers.aligned_weights,
    "IMTL-G": solvers.equal_projection_weights,
}


class Solved(GramianBalancer):
    """A solver and nothing else."""

    def __init__(self, tasks: Any, solver: str, measure: Any, every: int = 1) -> None:
        super().__init__(tasks, measure=measure, every=every)
        self.solve = SOLVERS[solver]

    def weigh(self, measured: Any, losses: Tensor, names: tuple[str, ...]) -> Tensor:  # noqa: ARG002
        return self.solve(measured.gramian)


# --- models: what `forward` gives is the junction and the loss of each task


class Own(nn.Module):
    """Torch modules alone."""

    def __init__(self, names: tuple[str, ...], *, own_rows: bool = False) -> None:
        super().__init__()
        self.own_rows = own_rows
        sizes = list(zip((INPUTS, *HIDDEN), HIDDEN, strict=False))
        self.trunk = nn.Sequential(*(layer for size in sizes for layer in (nn.Linear(*size), nn.ReLU())))
        self.heads = nn.ModuleDict(
            {name: nn.Sequential(nn.Linear(HIDDEN[-1], TOWER), nn.ReLU(), nn.Linear(TOWER, 1)) for name in names}
        )

    def forward(self, x: Tensor, y: Tensor, *, apart: bool) -> tuple[Any, dict[str, Tensor]]:  # noqa: ARG002
        size = len(x) // len(self.heads) if self.own_rows else len(x)
        parts = x.split(size) if self.own_rows else (x,)
        trunks = [self.trunk(part) for part in parts]  # one of all rows, or one of each task's
        found = {}
        for k, name in enumerate(self.heads):
            z, labels = (trunks[k], y[k, :size]) if self.own_rows else (trunks[0], y[k])
            found[name] = (self.heads[name](z).squeeze(1) - labels).square().mean()
        return (trunks[0],), found


class Library(nn.Module):
    """A sharing and heads of this library."""

    def __init__(self, kind: str, names: tuple[str, ...]) -> None:
        super().__init__()
        self.names = names
        if kind == "mlp":
            self.sharing: Any = SharedBottom(INPUTS, names, hidden=HIDDEN)
        elif kind == "mmoe":
            self.sharing = MMoE(INPUTS, names, num_experts=EXPERTS, hidden=EXPERT)
        else:
            self.sharing = PLE(INPUTS, names, levels=((128,), (128,)))
        self.heads = Heads(self.sharing.out_features, [Regression(name) for name in names], hidden=(TOWER,))

    def forward(self, x: Tensor, y: Tensor, *, apart: bool) -> tuple[Any, dict[str, Tensor]]:
        shared = self.sharing(x)
        outputs = self.heads(shared.outputs, apart=apart)
        return shared, {name: (outputs[name].squeeze(1) - y[k]).square().mean() for k, name in enumerate(self.names)}


class Arm:
    """A model, its data, its optimizer, and how it goes backward."""

    def __init__(self, model: nn.Module, tasks: int, way: Callable[..., None], *, apart: bool) -> None:
        self.model, self.way, self.apart = model, way, apart
        self.x, self.y = torch.randn(ROWS, INPUTS), torch.randn(tasks, ROWS)
        self.optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)

    def step(self) -> None:
        self.optimizer.zero_grad()
        junction, losses = self.model(self.x, self.y, apart=self.apart)
        self.way(self.model, junction, losses)
        self.optimizer.step()


def plain(model: nn.Module, junction: Any, losses: dict[str, Tensor]) -> None:  # noqa: ARG001
    torch.stack(list(losses.values())).sum().backward()


def balanced(names: tuple[str, ...], solver: str, measure: Any, every: int = 1) -> Callable[..., None]:
    balancer = Solved(names, solver, measure, every)

    def way(model: nn.Module, junction: Any, losses: dict[str, Tensor]) -> None:  # noqa: ARG001
        balancer.backward(losses, junction=junction if isinstance(junction, Shared) else ())

    return way


def torchjd(route: str, model: Any) -> Callable[..., None]:
    """A route that TorchJD documents, with its UPGrad."""
    from torchjd import aggregation, autogram, autojac

    if route == "autogram":
        engine, weighting = autogram.Engine(model.trunk, batch_dim=None), aggregation.UPGradWeighting()

        def way(model: Any, junction: Any, losses: dict[str, Tensor]) -> None:  # noqa: ARG001
            values = torch.stack(list(losses.values()))
            values.backward(weighting(engine.compute_gramian(values)))

        return way
    upgrad, options = aggregation.UPGrad(), {"parallel_chunk_size": 1} if route == "autojac, chunks of 1" else {}

    def jacobian(model: Any, junction: Any, losses: dict[str, Tensor]) -> None:
        parameters = list(model.trunk.parameters())
        autojac.mtl_backward(list(losses.values()), features=[junction[0]], shared_params=parameters, **options)
        autojac.jac_to_grad(parameters, upgrad)

    return jacobian


# --- measuring


MEASURES: dict[str, tuple[str, Any, int]] = {
    "junction, UPGrad": ("UPGrad", "junction", 1),
    **{f"junction, {solver}": (solver, "junction", 1) for solver in SOLVERS if solver != "UPGrad"},
    "sampled": ("UPGrad", "sampled", 1),
    "sketched": ("UPGrad", "sketched", 1),
    "all_layers": ("UPGrad", "all_layers", 1),
    "all_layers, every=4": ("UPGrad", "all_layers", 4),
    "last_layer": ("UPGrad", "last_layer", 1),
    "parameters": ("UPGrad", "parameters", 1),
}
ROUTES = ("autojac", "autojac, chunks of 1", "autogram")


def arms(kind: str, tasks: int, options: argparse.Namespace) -> dict[str, Arm]:
    names = tuple(f"t{k}" for k in range(tasks))
    own = kind.startswith("own")

    def made(way: Callable[..., None], *, apart: bool = True) -> Arm:
        torch.manual_seed(0)
        return Arm(
            Own(names, own_rows="batches" in kind) if own else Library(kind.partition("/")[2], names), tasks, way, apart=apart
        )

    found = {PLAIN: made(plain, apart=False), "plain again": made(plain, apart=False)}
    for name, (solver, measure, every) in MEASURES.items():
        if options.measures in name and measure in measures.MEASURES:
            found[name] = made(balanced(names, solver, measure, every))
    if kind == "own/mlp" and options.rivals and importlib.util.find_spec("torchjd"):
        for route in ROUTES:
            arm = made(plain)
            arm.way = torchjd(route, arm.model)
            found[f"TorchJD {route}"] = arm
    return found


def turns(every: dict[str, Arm], seconds: float, *, quick: bool) -> dict[str, list[float]]:
    """CPU seconds of steps, a round after the other, each in a new order."""
    times: dict[str, list[float]] = {name: [] for name in every}
    names, started = list(every), time.perf_counter()
    one_round(names, every, {name: [] for name in every})  # what memory and libraries set up at first
    started = time.perf_counter()
    one_round(names, every, {name: [] for name in every})
    pace = time.perf_counter() - started
    for _ in range(QUICK_ROUNDS if quick else min(MOST_ROUNDS, max(LEAST_ROUNDS, int(seconds / pace)))):
        names = [*names[1:], names[0]]
        one_round(names, every, times)
    return times


def one_round(names: list[str], every: dict[str, Arm], times: dict[str, list[float]]) -> None:
    for name in names:
        start = time.thread_time()
        every[name].step()
        times[name].append(time.thread_time() - start)


def peak(arm: Arm) -> int:
    """Most bytes that a step held above those it began with, by the allocator's record."""
    from torch.profiler import ProfilerActivity, profile

    arm.step()
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        arm.step()
    held = most = 0
    events = [event for event in found.profiler.kineto_results.events() if event.name() == "[memory]"]  # type: ignore[union-attr]
    for event in sorted(events, key=lambda event: event.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def cell(kind: str, tasks: int, options: argparse.Namespace, seconds: float) -> list[dict[str, Any]]:
    every = arms(kind, tasks, options)
    times = turns(every, seconds, quick=options.quick)
    memory = {name: peak(arm) for name, arm in every.items()}
    rows = []
    for name in list(every)[1:]:
        value, interval = ratio(times[name], times[PLAIN])
        found = row(f"{kind}, {tasks} tasks: {name}", value, "x", interval=interval, against=PLAIN)
        found |= {"mean": round(sum(times[name]) / sum(times[PLAIN]), 3), "memory": round(memory[name] / memory[PLAIN], 2)}
        found |= {"step_ms": round(1e3 * statistics.median(times[name]), 2), "rounds": len(times[name])}
        rows.append(found)
        print(
            f"{found['what']}: {value} {interval}, mean {found['mean']}, memory {found['memory']}, {found['step_ms']} ms",
            flush=True,
        )
    return rows


def numbers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default="own/mlp,own/per-task batches,library/mlp,library/mmoe,library/ple", help="models")
    parser.add_argument("--tasks", type=numbers, default=[2, 8, 32])
    parser.add_argument("--measures", default="", help="a part of the names of what is measured")
    parser.add_argument("--no-rivals", dest="rivals", action="store_false")
    parser.add_argument("--seconds", type=float, default=900, help="of all rounds together; a cell has 11 rounds at least")
    parser.add_argument("--quick", action="store_true", help="7 rounds; nothing is recorded")
    parser.add_argument("--caveat", default="", help="what holds against the numbers, such as a busy machine")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    cells = [(kind, tasks) for kind in options.only.split(",") for tasks in options.tasks]
    rows, started = [], time.perf_counter()
    for done, (kind, tasks) in enumerate(cells):
        rows += cell(kind, tasks, options, (options.seconds - (time.perf_counter() - started)) / (len(cells) - done))
    if not options.quick:
        about = (
            "CPU time of one thread; every step with Adam (fused); a ratio of memory is one of peaks above the step's beginning."
        )
        title = "Cost of balancing gradients against a plain step on the summed losses"
        caveat = " ".join(filter(None, [about, options.caveat]))
        record("balancing_cost", rows, title=title, seeds=[0], caveat=caveat, rivals=["torchjd"])


if __name__ == "__main__":
    main()
