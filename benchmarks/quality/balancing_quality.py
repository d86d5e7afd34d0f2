"""What balancers are worth: every one of the registry, beside a front of static weights and single tasks.

One shared bottom of one size for all; each balancer and each static point tries the same learning rates with seed 0, is chosen
by validation rows, and is trained with further seeds at its choice. delta_m is the mean over tasks of the change of error
(1 - AUC, or nMSE) against single tasks of the same size in percent: below 0 is better. Rows and seeds are resampled together for
the 95 % intervals of paired differences: to single tasks, to the plain sum, and to the static point that validation rows chose.

    python benchmarks/quality/balancing_quality.py --source DIR [--data sarcos_short,tox21,census_short] [--seeds 5] [--trials 2]
        [--only upgrad,equal] [--jobs N] [--tiny] [--cached] [--no-record]

What is trained is kept below --work: an interrupted run goes on where it was, new balancers join old ones.
"""

import argparse
import json
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path[1:1] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import numpy as np
from _arms import WORKS, Job, Result, read, run
from _paired import METRICS, Resamples
from _record import record, row
from _runs import train_missing

from polytask.balancers import BALANCERS, static_front

POINTS = 11  # of the static front, the plain sum among them
NEEDS = {  # what a balancer cannot do without, from the names of the tasks
    "fixed": None,  # stands in the table as the static front
    "rotograd": None,  # changes the model: only in own loops
    "gain_schedule": lambda tasks: {"gains": {tasks[0]: 0.9}},
    "auxiliary_decay": lambda tasks: {"auxiliary": list(tasks[1:]), "steps": 500},
    "cosine_gate": lambda tasks: {"main": [tasks[0]]},
    "metabalance": lambda tasks: {"main": tasks[0]},
}
SINGLE, EQUAL = "single_task", "equal"
CAVEAT = (
    "One shared bottom; options of balancers are their defaults; learning rates are chosen, weight decay and sizes are not. "
    "cosine_gate, metabalance and auxiliary_decay serve their main task, the first; delta_m is of all tasks."
)


def names_of(work: str) -> list[str]:
    return [task["name"] for task in WORKS[work].data.tasks if not WORKS[work].tasks or task["name"] in WORKS[work].tasks]


def front(tasks: list[str]) -> dict[str, dict]:
    """Static weights by the name of their point."""
    return {f"static {place}": point.weights for place, point in enumerate(static_front(tasks, points=POINTS))}


def arms(work: str, only: list[str]) -> dict[str, tuple[str, str]]:
    """Sharing and balancer of each arm."""
    tasks = names_of(work)
    found = {SINGLE: ("single_task", "")}
    for name in BALANCERS:
        options = NEEDS.get(name, lambda _: {})
        if options is not None:
            found[name] = ("shared_bottom", json.dumps({"name": name, **options(tasks)}))
    for name, weights in front(tasks).items():
        found[name] = ("shared_bottom", json.dumps({"name": "fixed", "weights": weights}))
    if not only:
        return found
    return {name: arm for name, arm in found.items() if name.split()[0] in {SINGLE, EQUAL, *only}}


class Runs:
    """What is trained, where it is kept, and who does it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.failed = options, []

    def job(self, work: str, arm: tuple[str, str], setting: int, seed: int) -> Job:
        o = self.options
        return Job(work, arm[0], setting, seed, str(o.source or ""), str(o.work), o.tiny, arm[1])

    def train(self, jobs: Iterable[Job]) -> None:
        if not self.options.cached:
            failed = train_missing(jobs, run, told, processes=self.options.jobs)
            self.failed += [f"{job.work} {job.balancer}: {error}" for job, error in failed]

    def chosen(self, work: str, arm: tuple[str, str]) -> int | None:
        """The setting that is best on the validation rows; None where nothing is trained."""
        jobs = [self.job(work, arm, setting, 0) for setting in range(self.options.trials)]
        errors = {job.setting: log_error(job.work, *valid_of(read(job))) for job in jobs if job.file.exists()}
        return min(errors, key=errors.get) if errors else None

    def found(self, work: str, arm: tuple[str, str]) -> list[Result]:
        setting = self.chosen(work, arm)
        jobs = [] if setting is None else [self.job(work, arm, setting, seed) for seed in range(self.options.seeds)]
        return [read(job) for job in jobs if job.file.exists()]


def told(job: Job) -> str:
    took = f": {read(job).about['seconds']:.0f} s" if job.file.exists() else ""
    return f"{job.work} {job.arm} {job.balancer} {job.setting} seed {job.seed}{took}"


def valid_of(result: Result) -> tuple[np.ndarray, np.ndarray]:
    return result.valid_labels, result.valid


def errors_of(work: str, labels: np.ndarray, predicted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Error of each task (1 - AUC, nMSE) and each row's influence on it, `k` and `k n`; a row without the label has none."""
    name, metric = METRICS["regression" if work.startswith("sarcos") else "binary"]
    values, influences = [], np.zeros(labels.T.shape)
    for k in range(labels.shape[1]):
        known = ~np.isnan(labels[:, k])
        value, influence = metric(labels[known, k], predicted[known, k])
        sign = -1 if name == "AUC" else 1
        values.append(1 - value if name == "AUC" else value)
        influences[k, known] = sign * influence * len(known) / known.sum()
    return np.array(values), influences


def log_error(work: str, labels: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.log(np.maximum(errors_of(work, labels, predicted)[0], 1e-12)).mean())


# --- the table


def rows_of(runs: Runs, work: str) -> list[dict]:
    """A row an arm: delta_m, and paired differences to the plain sum and to the static point that validation chose."""
    known = arms(work, runs.options.only)
    results = {name: found for name, arm in known.items() if (found := runs.found(work, arm))}
    if SINGLE not in results:
        return []
    resamples = Resamples(len(results[SINGLE][0].labels))
    base, base_moved = relative(work, results[SINGLE], resamples)
    judged = {name: (base, base_moved) if name == SINGLE else relative(work, found, resamples) for name, found in results.items()}
    scale = base.mean(0)  # error of each task by single tasks
    gains = {name: 100 * (values / scale - 1).mean(1) for name, (values, _) in judged.items()}
    moves = {name: 100 * (moved / scale[:, None, None]).mean(0) for name, (_, moved) in judged.items()}
    static = {
        name: np.mean([log_error(work, *valid_of(r)) for r in results[name]]) for name in results if name.startswith("static")
    }
    best = min(static, key=static.get) if static else None
    table = []
    for name, found in results.items():
        entry = row(f"{work}: {name}", float(gains[name].mean()), "delta_m %", against=SINGLE, note=note(work, name, runs, known))
        entry |= paired("", name, SINGLE, gains, moves, resamples) if name != SINGLE else {}
        for label, other in (("sum", EQUAL), ("best_static", best)):
            if other in gains and other != name:
                entry |= paired(f"against_{label}", name, other, gains, moves, resamples)
        entry |= {"tasks_worse_than_single": int((judged[name][0].mean(0) > scale).sum()), "seeds": len(found)}
        entry["cpu_seconds"] = round(float(np.mean([result.about["seconds"] for result in found])), 1)
        table.append(entry | ({"chosen": True} if name == best else {}))
    return sorted(table, key=lambda entry: entry["value"])


def note(work: str, name: str, runs: Runs, known: dict) -> str:
    setting = WORKS[work].settings[runs.chosen(work, known[name])]
    weights = json.loads(known[name][1]).get("weights", {}) if name.startswith("static") else {}
    shown = " ".join(f"{weight:.2g}" for weight in weights.values())
    return f"lr {setting['lr']:g}" + (f"; weights {shown}" if shown else "")


def relative(work: str, results: list[Result], resamples: Resamples) -> tuple[np.ndarray, np.ndarray]:
    """Errors `s k`, and how far each resample moves them, `k r s`."""
    each = [errors_of(work, result.labels, result.test) for result in results]
    moved = [resamples.deviations(np.stack([influence[k] for _, influence in each])) for k in range(each[0][1].shape[0])]
    return np.stack([values for values, _ in each]), np.stack(moved)


def paired(label: str, mine: str, other: str, gains: dict, moves: dict, resamples: Resamples) -> dict:
    both = slice(min(len(gains[mine]), len(gains[other])))
    difference = gains[mine][both] - gains[other][both]
    interval = resamples.interval(difference, moves[mine][:, both] - moves[other][:, both])
    if not label:
        return {"interval": interval}
    return {label: float(difference.mean()), f"{label}_interval": interval}


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--source", default=os.environ.get("POLYTASK_DATA"), help="folder of data sets; POLYTASK_DATA where not given"
    )
    parser.add_argument("--data", default="sarcos_short,tox21,census_short", type=lambda text: text.split(","))
    parser.add_argument("--only", default=[], type=lambda text: text.split(","), help="balancers; static for the front")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=2, help="learning rates that every arm tries")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "polytask-balancing-quality")
    parser.add_argument("--tiny", action="store_true", help="20 steps each: shows that the whole path works; nothing is recorded")
    parser.add_argument("--cached", action="store_true", help="train nothing: tables of what is below --work")
    parser.add_argument("--no-record", action="store_true")
    parser.add_argument("--caveat", default="", help="what holds against the numbers, such as a busy machine")
    return parser.parse_args()


def main() -> None:
    options = parsed()
    if options.source is None:
        sys.exit("Name the folder of the data sets: --source DIR, or POLYTASK_DATA.")
    runs = Runs(options)
    places = [(work, arm) for work in options.data for arm in arms(work, options.only).values()]
    runs.train(runs.job(*place, setting, 0) for place in places for setting in range(options.trials))
    choices = [(place, setting) for place in places if (setting := runs.chosen(*place)) is not None]
    runs.train(runs.job(*place, setting, seed) for seed in range(options.seeds) for place, setting in choices)
    table = [entry for work in options.data for entry in rows_of(runs, work)]
    for entry in table:
        print({key: value for key, value in entry.items() if value not in (None, "")})
    if not (options.tiny or options.no_record):
        title = "Balancers beside a front of static weights: SARCOS, Tox21, Census-Income"
        caveat = f"{CAVEAT} {options.trials} learning rates each. {options.caveat}".strip()
        record("balancing_quality", table, title=title, seeds=range(options.seeds), caveat=caveat)
    sys.exit("\n".join(["Some trainings failed:", *dict.fromkeys(runs.failed)]) if runs.failed else 0)


if __name__ == "__main__":
    main()
