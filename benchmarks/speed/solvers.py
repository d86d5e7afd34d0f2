"""Time and error of the solvers behind gradient balancers, against TorchJD's weightings on the same Gramians.

Each cell takes Gramians of one kind and size in turns: ours, TorchJD, ours, ... in one process and one thread; CPU time; medians.
The error is of the worst Gramian of the cell. MGDA: squared norm above the least, as a share of the least, or of the mean
squared length of gradients where the least is 0. UPGrad, DualProj: distance of the direction from the exact one, in mean lengths.
CAGrad: what the worst-off task gains less, as a share of the greatest gain. Nash, FairGrad: residual of the equation, relative
to its terms. The exact points of the first three are ours: the tests prove them by their optimality conditions. TorchJD is
faster in places where it does less: then its error says so.

    python benchmarks/speed/solvers.py [--quick] [--only upgrad,nash] [--tasks 2,8,32,128] [--seconds 300]

TorchJD's UPGrad, CAGrad and Nash-MTL need `pip install torchjd qpsolvers quadprog cvxpy clarabel ecos`, or a folder that `RIVALS`
names; what is lacking is left out and named.
"""

import argparse
import os
import statistics
import sys
import time
import warnings
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MKL_NUM_THREADS", "1")
sys.path[1:1] = [str(Path(__file__).parents[1]), *filter(None, os.environ.get("RIVALS", "").split(os.pathsep))]

import torch
from _record import record, row

from polytask.balancers import solvers

C, ALPHA = 0.4, 2.0
LEAST_ROUNDS, MOST_ROUNDS, GRAMIANS = 3, 60, 5
SLOW = 1.0  # seconds of one solution from which on a cell has few rounds


def conflict(tasks, generator):
    """Random gradients, pulled away from their mean."""
    rows = torch.randn(tasks, 4 * tasks, generator=generator)
    return rows - 0.9 * rows.mean(0)


def random(tasks, generator):
    return torch.randn(tasks, 2 * tasks, generator=generator)


def aligned(tasks, generator):
    return torch.randn(tasks, 2 * tasks, generator=generator) + 0.5


def dependent(tasks, generator):
    """Rank below the number of tasks; all gradients in one half space."""
    return torch.randn(tasks, max(2, tasks // 3), generator=generator) + 0.5


KINDS = {"random": random, "conflict": conflict, "aligned": aligned, "rank-deficient": dependent}


def upgrad(matrix):
    tasks = matrix.shape[-1]
    return solvers.dual_cone_weights(matrix, torch.eye(tasks, dtype=matrix.dtype) / tasks).sum(-2)


def mean_projected(matrix):
    tasks = matrix.shape[-1]
    return solvers.dual_cone_weights(matrix, torch.full((1, tasks), 1 / tasks, dtype=matrix.dtype))[0]


def order(tasks):
    """A random permutation in each row, as TorchJD draws it inside."""
    return torch.rand(tasks, tasks).argsort(-1)


def surgery(matrix):
    return solvers.surgery_weights(matrix, order(matrix.shape[-1]))


def vaccine(matrix):
    return solvers.vaccine_weights(matrix, torch.zeros_like(matrix), order(matrix.shape[-1]))[0]


def cagrad(matrix):
    return solvers.conflict_averse_weights(matrix, C)


def fair(matrix):
    return solvers.power_weights(matrix, ALPHA)


OURS = {
    "upgrad": upgrad,
    "dual_proj": mean_projected,
    "mgda": solvers.min_norm_weights,
    "cagrad": cagrad,
    "nash": solvers.nash_weights,
    "fairgrad": fair,
    "imtl_g": solvers.equal_projection_weights,
    "aligned": solvers.aligned_weights,
    "config": solvers.unit_sum_weights,
    "pcgrad": surgery,
    "gradvac": vaccine,
}


def theirs(name, tasks):
    """TorchJD's function of the gradients, and its function of the Gramian where it has one."""
    from torchjd import aggregation as them
    from torchjd.aggregation._nash_mtl import _NashMTLWeighting

    made = {
        "upgrad": them.UPGradWeighting,
        "dual_proj": them.DualProjWeighting,
        "mgda": them.MGDAWeighting,
        "cagrad": lambda: them.CAGradWeighting(c=C),
        "nash": lambda: _NashMTLWeighting(tasks, max_norm=0.0, update_weights_every=1, optim_niter=20),
        "fairgrad": lambda: them.FairGradWeighting(alpha=ALPHA),
        "imtl_g": them.IMTLGWeighting,
        "aligned": them.AlignedMTLWeighting,
        "config": them.ConFIG,
        "pcgrad": them.PCGradWeighting,
        "gradvac": them.GradVacWeighting,
    }
    solve = made[name]()
    return lambda rows, matrix: solve(rows if name in ("nash", "config") else matrix)


def error(name, rows, weights):
    """How far weights are from what the method is; None where nothing but rounding can be wrong."""
    rows, weights = rows.double(), weights.double()
    matrix = rows @ rows.mT
    scale = matrix.diagonal().mean()
    if name == "mgda":
        value, least = (w @ matrix @ w for w in (weights, solvers.min_norm_weights(matrix)))
        return float((value - least) / (least if least > 1e-9 * scale else scale))
    if name in ("upgrad", "dual_proj"):
        return float(((weights - OURS[name](matrix)) @ rows).norm() / scale.sqrt())
    if name == "cagrad":
        exact = matrix @ cagrad(matrix)
        return float((exact.min() - (matrix @ weights).min()) / exact.abs().max())
    if name in ("nash", "fairgrad"):
        wanted = weights ** (-1.0 if name == "nash" else -1.0 / ALPHA)
        return float(((matrix @ weights - wanted).abs() / (wanted + matrix.abs() @ weights)).max())
    return None


def timed(solve):
    start = time.process_time()
    found = solve()
    return time.process_time() - start, found


def cell(name, kind, tasks, seconds, quick):
    """Median times of both, and their worst errors."""
    generator = torch.Generator().manual_seed(tasks)
    problems = [(rows := KINDS[kind](tasks, generator).double(), rows @ rows.mT) for _ in range(GRAMIANS)]
    arms = {"ours": lambda _, matrix: OURS[name](matrix)}
    lacking = ""
    try:
        arms["theirs"] = theirs(name, tasks)
        arms["theirs"](*problems[0])
    except (ImportError, NameError) as missing:
        arms.pop("theirs", None)
        lacking = f"{name}: {missing}"
    times, errors = {arm: [] for arm in arms}, dict.fromkeys(arms, None)
    for solve in arms.values():
        solve(*problems[0])
    end = time.perf_counter() + seconds
    for turn in range(LEAST_ROUNDS if quick else MOST_ROUNDS):
        if turn >= LEAST_ROUNDS and time.perf_counter() > end:
            break
        for problem in problems[: 1 if max([t for ts in times.values() for t in ts], default=0) > SLOW else GRAMIANS]:
            for arm, solve in arms.items():
                spent, found = timed(lambda solve=solve, problem=problem: solve(*problem))
                times[arm].append(spent)
                if turn == 0 and name != "config":
                    wrong = error(name, problem[0], found)
                    errors[arm] = wrong if errors[arm] is None else max(errors[arm], wrong)
    return {arm: statistics.median(spent) for arm, spent in times.items()}, errors, len(times["ours"]), lacking


def numbers(text):
    return [int(part) for part in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=",".join(OURS), help="solvers")
    parser.add_argument("--kinds", default=",".join(KINDS))
    parser.add_argument("--tasks", type=numbers, default=[2, 8, 32, 128])
    parser.add_argument("--seconds", type=float, default=300, help="of all cells together; a cell has 3 rounds at least")
    parser.add_argument("--quick", action="store_true", help="3 rounds; nothing is recorded")
    parser.add_argument("--caveat", default="", help="what holds against the numbers, such as a busy machine")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    cells = [(n, kind, k) for n in options.only.split(",") for kind in options.kinds.split(",") for k in options.tasks]
    rows, left_out = [], {}
    for name, kind, tasks in cells:
        median, errors, count, lacking = cell(name, kind, tasks, options.seconds / len(cells), options.quick)
        left_out |= {lacking: None} if lacking else {}
        line = row(f"{name}, {kind}, {tasks} tasks", 1e3 * median["ours"], "ms", note=f"median of {count}")
        line |= {"error": errors["ours"]}
        if "theirs" in median:
            line |= {"against": "torchjd", "torchjd_ms": 1e3 * median["theirs"], "torchjd_error": errors["theirs"]}
            line |= {"x faster": median["theirs"] / median["ours"]}
        rows.append(line)
        shown = {
            key: float(f"{line[key]:.3g}")
            for key in ("value", "torchjd_ms", "x faster", "error", "torchjd_error")
            if line.get(key) is not None
        }
        print(line["what"], shown, flush=True)
    print("left out:", "; ".join(left_out) or "nothing")
    if not options.quick:
        caveat = " ".join(filter(None, [f"Left out of TorchJD: {'; '.join(left_out)}." if left_out else "", options.caveat]))
        title = "Weights from the Gramian: our solvers against TorchJD's, CPU time of one thread"
        record(
            "solvers", rows, title=title, caveat=caveat, rivals=["torchjd", "qpsolvers", "quadprog", "cvxpy", "clarabel", "ecos"]
        )


if __name__ == "__main__":
    main()
