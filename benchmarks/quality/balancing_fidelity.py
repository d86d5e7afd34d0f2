"""How well cheap measures of task gradients follow the exact ones, on several trunks, at the start, middle and end of training.

Eight tasks on an MLP, an MMoE, a PLE, a small convolutional net and a small transformer, trained on the summed losses of two
kinds of data (`_balanced_trunks.py`): opposed regressions, and rare labels. At three moments, on one batch, every measure is held
against `parameters`: by Spearman's rank correlation of the 28 cosines between tasks, and of the weights that four methods make of
them. "another batch" is `parameters` on other rows: what is as good as the noise of batches reaches it. Means over data, seeds
and batches.

    python benchmarks/quality/balancing_fidelity.py [--quick] [--only MLP,MMoE] [--seeds 3]
"""

import argparse
import os
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(1, str(Path(__file__).parents[1]))

import torch
from _balanced_trunks import DATA, TASKS, TRUNKS, Data, Net
from _record import record, row
from torch import Tensor

from polytask.balancers import solvers
from polytask.balancers._cut import cut
from polytask.balancers.measures import AtAllLayers, AtJunction, AtLastLayer, AtParameters, Measure, Sampled, Sketched

ROWS, BATCH, RATE = 6000, 256, 1e-3
MOMENTS = {"start": 3, "middle": 60, "end": 400}
ANOTHER = "another batch"


def measures() -> dict[str, Measure]:
    """Fresh ones, so that what a measure remembers is of one training."""
    found: dict[str, Measure] = {"junction": AtJunction(), "last_layer": AtLastLayer(), "sampled": Sampled()}
    found |= {f"sketched, rank={rank}": Sketched(rank=rank) for rank in (8, 16, 32, 64, 128)}
    return found | {f"all_layers, rank={rank}": AtAllLayers(rank=rank) for rank in (16, 32, 64, 128)}


def upgrad(gramian: Tensor) -> Tensor:
    return solvers.dual_cone_weights(gramian, torch.eye(len(gramian), dtype=gramian.dtype) / len(gramian)).sum(0)


METHODS = {
    "UPGrad": upgrad,
    "MGDA": solvers.min_norm_weights,
    "CAGrad": lambda gramian: solvers.conflict_averse_weights(gramian, 0.4),
    "Nash-MTL": solvers.nash_weights,
}


def cosines(gramian: Tensor) -> Tensor:
    inverse = gramian.diagonal().clamp_min(1e-300).rsqrt()
    first, second = torch.triu_indices(*gramian.shape, 1)
    return (gramian * inverse[:, None] * inverse)[first, second]


def agreement(first: Tensor, second: Tensor) -> float:
    """Spearman's rank correlation; ties (weights of 0) have their mean rank."""
    a, b = (ranks(values) for values in (first, second))
    a, b = a - a.mean(), b - b.mean()
    size = a.norm() * b.norm()
    return float(a @ b / size) if size > 0 else float("nan")


def ranks(values: Tensor) -> Tensor:
    close = (values[:, None] - values).abs() <= 1e-9 * values.abs().max()
    below = (values[:, None] > values) & ~close
    return below.sum(1).double() + (close.sum(1).double() - 1) / 2


def gramian(net: Net, data: Data, rows: Tensor, measure: Measure) -> Tensor:
    junction, losses = net.losses(data.x[rows], data.y[rows], data.criterion)
    return measure(cut(losses, junction, (), TASKS)).gramian  # type: ignore[arg-type, no-any-return]


def compare(net: Net, data: Data, known: dict[str, Measure], generator: torch.Generator) -> dict[tuple[str, str], float]:
    """Agreement of each measure with the exact one on a batch, for cosines and for the weights of each method."""
    rows, others = (torch.randint(0, ROWS, (BATCH,), generator=generator) for _ in range(2))
    exact = gramian(net, data, rows, AtParameters())
    found = {name: gramian(net, data, rows, measure) for name, measure in known.items()}
    found[ANOTHER] = gramian(net, data, others, AtParameters())
    result = {(name, "cosines"): agreement(cosines(exact), cosines(one)) for name, one in found.items()}
    for method, weigh in METHODS.items():
        result |= {(name, method): agreement(weigh(exact), weigh(one)) for name, one in found.items()}
    return result


def train(trunk: str, kind: str, seed: int, batches: int, scores: dict[tuple[str, str, str], list[float]]) -> None:
    """One training; scores by moment, measure and what is compared."""
    data, known = DATA[kind](ROWS, seed), measures()
    torch.manual_seed(seed)
    net, generator, done = Net(TRUNKS[trunk]), torch.Generator().manual_seed(seed), 0
    optimizer = torch.optim.Adam(net.parameters(), RATE)
    for moment, upto in MOMENTS.items():
        for _ in range(done, upto):
            rows = torch.randint(0, ROWS, (BATCH,), generator=generator)
            optimizer.zero_grad()
            torch.stack(list(net.losses(data.x[rows], data.y[rows], data.criterion)[1].values())).sum().backward()
            optimizer.step()
        done = upto
        for measure in known.values():
            if isinstance(measure, AtAllLayers):
                measure.count.times += -measure.count.times % 16  # as in a training: a look at most 16 measurements old
        for _ in range(batches):
            for (name, what), value in compare(net, data, known, generator).items():
                scores[moment, name, what].append(value)


def mean(values: list[float]) -> float:
    known = [value for value in values if value == value]
    return round(sum(known) / max(len(known), 1), 3)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", default=",".join(TRUNKS), help="trunks")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--batches", type=int, default=4, help="batches at each moment")
    parser.add_argument("--quick", action="store_true", help="one seed, one batch; nothing is recorded")
    parser.add_argument("--caveat", default="")
    options = parser.parse_args()
    seeds, batches = (1, 1) if options.quick else (options.seeds, options.batches)
    torch.set_num_threads(1)
    overall: dict[tuple[str, str], list[float]] = defaultdict(list)
    detail: list[dict[str, Any]] = []
    for trunk in options.only.split(","):
        scores: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        for kind in DATA:
            for seed in range(seeds):
                train(trunk, kind, seed, batches, scores)
        for name in [*measures(), ANOTHER]:
            line: dict[str, Any] = {"what": f"{trunk}: {name}"}
            line |= {moment: mean(scores[moment, name, "cosines"]) for moment in MOMENTS}
            for method in METHODS:
                line[method] = mean([value for moment in MOMENTS for value in scores[moment, name, method]])
            detail.append(line)
            overall[name, trunk] = [value for moment in MOMENTS for value in scores[moment, name, "cosines"]]
            print(line, flush=True)
    if not options.quick:
        trunks = options.only.split(",")
        rows = [
            row(
                name,
                mean([value for trunk in trunks for value in overall[name, trunk]]),
                "rank correlation",
                against="parameters",
            )
            | {trunk: mean(overall[name, trunk]) for trunk in trunks}
            for name in [*measures(), ANOTHER]
        ]
        title = "Fidelity of measures of task gradients: rank correlation with the exact ones"
        record("balancing_fidelity", rows, title=title, seeds=range(seeds), caveat=options.caveat, by_moment_and_method=detail)


if __name__ == "__main__":
    main()
