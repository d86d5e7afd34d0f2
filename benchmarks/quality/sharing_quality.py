"""What ways of sharing are worth at equal size and equal tuning: census data, a robot arm, the synthetic set of the PLE paper.

Every architecture of the registry has the same number of parameters in sharing and heads (within 10 %: its widths are solved, its
other options are its defaults) and the same number of trials: each tries the same settings with seed 0, is chosen by validation
rows, and is trained with further seeds at its choice. Rows and seeds are resampled together for the 95 % intervals of paired
differences. Census-Income stands beside the tables of the MMoE paper. A training of the tables takes about a minute of CPU: large
batches, few epochs, bf16 where the processor has it.

The synthetic set is that of section 5.1 of the PLE paper (512 numbers, 1.4 million rows a correlation, none seen twice): the gain
of a method is the MSE of single tasks less its own.

    python benchmarks/quality/sharing_quality.py --source DIR [--data census1,census2,adult,sarcos,ple] [--seeds 5] [--jobs N]
        [--only mmoe,ple] [--trials 4] [--tiny] [--cached] [--no-record]

What is trained is kept below --work: an interrupted run goes on where it was, new architectures join old ones.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path[1:1] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import numpy as np
from _arms import CORRELATIONS, GRID, PLE_ROWS, PLE_TUNED, WORKS, Job, Result, read, run
from _paired import METRICS, Resamples
from _published import against
from _record import record, row
from _runs import train_missing
from scipy.stats import t as student

from polytask.sharing import SHARINGS

TABLES = ("census1", "census2", "adult", "sarcos")
ON_PLE = ("single_task", "shared_bottom", "mmoe", "cgc", "ple")
BASELINES = ("shared_bottom", "single_task")
MANY_TASKS = 4  # with more, a table shows their mean
CAVEAT = (
    "Equal numbers of parameters of sharing and heads, within 10 %; single_task has an encoder a task beside them. "
    "All options but widths, rate and dropout are defaults. LightGBM is not tuned. "
    "Published numbers were trained and tuned in other ways."
)


def metric_of(work: str) -> tuple[str, object]:
    return METRICS["binary" if work.startswith(("census", "adult")) else "regression"]


class Runs:
    """What is trained, where it is kept, and who does it."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        self.failed: list[str] = []

    def job(self, work: str, arm: str, setting: int, seed: int) -> Job:
        o = self.options
        return Job(work, arm, setting, seed, str(o.source or ""), str(o.work), o.tiny)

    def train(self, jobs: Iterable[Job]) -> None:
        """Trains what is missing, a process a core; one that fails leaves its row out and is told at the end."""
        if not self.options.cached:
            failed = train_missing(jobs, run, told, processes=self.options.jobs)
            self.failed += [f"{job.work} {job.arm}: {error}" for job, error in failed]

    def chosen(self, work: str, arm: str) -> int | None:
        """The setting that is best on the validation rows; None where nothing is trained."""
        work = WORKS[work].tuned_on or work
        errors = {setting: self.error(self.job(work, arm, setting, 0)) for setting in self.settings(work, arm)}
        errors = {setting: error for setting, error in errors.items() if error is not None}
        return min(errors, key=errors.get) if errors else None

    def settings(self, work: str, arm: str) -> range:
        return range(1 if arm == "lightgbm" else min(self.options.trials, len(WORKS[work].settings)))

    def error(self, job: Job) -> float | None:
        """Mean log error of the tasks on the validation rows."""
        if not job.file.exists():
            return None
        result, (name, metric) = read(job), metric_of(job.work)
        values = np.array([metric(result.valid_labels[:, k], result.valid[:, k])[0] for k in range(result.valid.shape[1])])
        return float(np.log(np.maximum(1 - values if name == "AUC" else values, 1e-12)).mean())

    def found(self, work: str, arm: str) -> list[Result]:
        setting = self.chosen(work, arm)
        jobs = [] if setting is None else [self.job(work, arm, setting, seed) for seed in range(self.options.seeds)]
        return [read(job) for job in jobs if job.file.exists()]


def told(job: Job) -> str:
    took = f": {read(job).about['seconds']:.0f} s" if job.file.exists() else ""
    return f"{job.work} {job.arm} setting {job.setting} seed {job.seed}{took}"


def train_all(runs: Runs, works: list[str]) -> None:
    """The trials of all, then the seeds at each choice."""
    tuned = dict.fromkeys(WORKS[work].tuned_on or work for work in works)
    arms = {work: arms_of(runs.options, work) for work in dict.fromkeys([*works, *tuned])}
    runs.train(runs.job(work, arm, setting, 0) for work in tuned for arm in arms[work] for setting in runs.settings(work, arm))
    choices = {(work, arm): runs.chosen(work, arm) for work in works for arm in arms[work]}
    seeds = range(runs.options.seeds)
    runs.train(runs.job(*place, setting, seed) for seed in seeds for place, setting in choices.items() if setting is not None)


def arms_of(options: argparse.Namespace, work: str) -> list[str]:
    if options.only:
        return [name for name in options.only if name in SHARINGS or work in TABLES]
    return list(ON_PLE) if work.startswith("ple") else [*SHARINGS, "lightgbm"]


# --- tables


def rows_of(runs: Runs, work: str) -> list[dict]:
    """A row an architecture and task: its metric, and its paired differences to the baselines."""
    found = {arm: results for arm in arms_of(runs.options, work) if (results := runs.found(work, arm))}
    if not found:
        return []
    labels, (unit, metric) = next(iter(found.values()))[0].labels, metric_of(work)
    names = [task["name"] for task in WORKS[work].data.tasks if not WORKS[work].tasks or task["name"] in WORKS[work].tasks]
    measured = {
        arm: [[metric(labels[:, k], result.test[:, k]) for result in results] for k in range(len(names))]
        for arm, results in found.items()
    }
    if len(names) > MANY_TASKS:
        measured = {arm: [mean_of_tasks(tasks)] for arm, tasks in measured.items()}
        names = [f"mean of {len(names)} tasks"]
    resamples, table = Resamples(len(labels)), []
    for k, task in enumerate(names):
        moved = {arm: resamples.deviations(np.stack([psi for _, psi in tasks[k]])) for arm, tasks in measured.items()}
        values = {arm: np.array([value for value, _ in tasks[k]]) for arm, tasks in measured.items()}
        table += [
            line(runs, work, task, arm, results, unit) | compared(arm, values, moved, resamples) for arm, results in found.items()
        ]
    return table


def mean_of_tasks(tasks: list) -> list:
    """Seed by seed, the mean of value and influence over tasks."""
    return [
        (float(np.mean([value for value, _ in seed])), np.mean([psi for _, psi in seed], axis=0))
        for seed in zip(*tasks, strict=True)
    ]


def line(runs: Runs, work: str, task: str, arm: str, results: list[Result], unit: str) -> dict:
    setting = WORKS[work].settings[runs.chosen(work, arm)]
    chosen = "" if arm == "lightgbm" else ", ".join(f"{key} {value:g}" for key, value in setting.items())
    found = row(f"{work}, {task}: {arm}", 0.0, unit, against=against(work, task, arm) or None, note=chosen)
    found |= {"seeds": len(results), "parameters": results[0].about.get("parameters")}
    return found | {"cpu_seconds": round(float(np.mean([result.about["seconds"] for result in results])), 1)}


def compared(arm: str, values: dict, moved: dict, resamples: Resamples) -> dict:
    mine = values[arm]
    found = {"value": float(mine.mean()), "sd": float(mine.std(ddof=1)) if len(mine) > 1 else None}
    found["interval"] = resamples.interval(mine, moved[arm])
    for baseline in BASELINES:
        if baseline in values and arm != baseline:
            both = slice(min(len(mine), len(values[baseline])))
            difference = mine[both] - values[baseline][both]
            found[f"against_{baseline}"] = float(difference.mean())
            found[f"{baseline}_interval"] = resamples.interval(difference, moved[arm][:, both] - moved[baseline][:, both])
    return found


def ple_rows(runs: Runs) -> tuple[list[dict], list[dict]]:
    """MSE and gain over single tasks at each correlation and over all; and what the paper claims of them."""
    errors: dict[str, dict[float, np.ndarray]] = {}
    for p in CORRELATIONS:
        for arm in arms_of(runs.options, "ple"):
            results = runs.found(f"ple-{p:g}", arm)
            if results:
                errors.setdefault(arm, {})[p] = np.array([((r.test - r.labels) ** 2).mean() for r in results])
    single, table, gains = errors.get("single_task", {}), [], {}
    for arm, by_p in errors.items():
        gains[arm] = {p: single[p][: len(e)] - e[: len(single[p])] for p, e in by_p.items() if p in single}
        for p, error in by_p.items():
            rate = WORKS[PLE_TUNED].settings[runs.chosen(PLE_TUNED, arm)]["lr"]
            note = f"{len(error)} seeds, mean of 2 tasks, lr {rate:g}"
            entry = row(f"ple2020, cosine {p:g}: {arm}", float(error.mean()), "MSE", note=note)
            if arm != "single_task" and p in gains[arm]:
                entry |= {"gain": float(gains[arm][p].mean()), "interval": interval(gains[arm][p]), "against": "single_task"}
                entry["seeds_with_gain"] = int((gains[arm][p] > 0).sum())
            table.append(entry)
    return table, claims(gains)


def interval(values: np.ndarray) -> list[float] | None:
    """95 % interval of a mean over seeds, of Student."""
    if len(values) < 2:
        return None
    half = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return [float(values.mean() - half), float(values.mean() + half)]


def claims(gains: dict[str, dict[float, np.ndarray]]) -> list[dict]:
    """Gains of CGC and PLE over MMoE, at each correlation and on average: the paper has PLE's 87.2 % above MMoE's."""
    table = []
    for arm in ("cgc", "ple"):
        both = [p for p in gains.get(arm, {}) if p in gains.get("mmoe", {})]
        pairs = {p: gains[arm][p] - gains["mmoe"][p][: len(gains[arm][p])] for p in both}
        for p, more in pairs.items():
            note = f"more on {int((more > 0).sum())} of {len(more)} seeds"
            table.append(
                row(f"{arm}, cosine {p:g}: gain", float(more.mean()), "MSE", interval=interval(more), against="mmoe", note=note)
            )
        if pairs:
            mean = {name: np.mean([gains[name][p].mean() for p in both]) for name in (arm, "mmoe")}
            whole = np.mean([more for more in pairs.values() if len(more) == len(pairs[both[0]])], axis=0)
            note = f"{mean[arm]:.5f} against {mean['mmoe']:.5f}" + ("; PLE paper: 87.2 % more" if arm == "ple" else "")
            table.append(
                row(f"{arm}, all: gain", float(whole.mean()), "MSE", interval=interval(whole), against="mmoe", note=note)
            )
    return table


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--source", default=os.environ.get("POLYTASK_DATA"), help="folder of data sets; POLYTASK_DATA where not given"
    )
    parser.add_argument("--data", default="census1,census2,adult,sarcos,ple", type=lambda text: text.split(","))
    parser.add_argument("--only", default=[], type=lambda text: text.split(","), help="architectures, and lightgbm")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--trials", type=int, default=len(GRID), help="settings that every architecture tries")
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "polytask-sharing-quality")
    parser.add_argument("--tiny", action="store_true", help="20 steps each: shows that the whole path works; nothing is recorded")
    parser.add_argument("--cached", action="store_true", help="train nothing: tables of what is below --work")
    parser.add_argument("--no-record", action="store_true")
    parser.add_argument("--caveat", default="", help="what holds against the numbers, such as a busy machine")
    return parser.parse_args()


def main() -> None:
    options = parsed()
    if options.source is None and any(name in TABLES for name in options.data):
        sys.exit("Name the folder of the data sets: --source DIR, or POLYTASK_DATA. (`--data ple` needs none.)")
    runs = Runs(options)
    works = [work for name in options.data for work in ([f"ple-{p:g}" for p in CORRELATIONS] if name == "ple" else [name])]
    train_all(runs, works)
    table = [entry for work in works if work in TABLES for entry in rows_of(runs, work)]
    synthetic, over_mmoe = ple_rows(runs) if "ple" in options.data else ([], [])
    for entry in (*table, *synthetic, *over_mmoe):
        print({key: value for key, value in entry.items() if value not in (None, "")})
    if not (options.tiny or options.no_record):
        title = "Ways of sharing at equal parameters and equal tuning: Census-Income, Adult, SARCOS, the synthetic set of PLE"
        more = {"synthetic": synthetic, "gain_over_mmoe": over_mmoe}
        about = f"{CAVEAT} {options.trials} trials each; synthetic: {PLE_ROWS:,} rows, settings chosen on {PLE_TUNED}."
        caveat = f"{about} {options.caveat}".strip()
        record("sharing_quality", table, title=title, seeds=range(options.seeds), rivals=["lightgbm"], caveat=caveat, **more)
    sys.exit("\n".join(["Some trainings failed:", *dict.fromkeys(runs.failed)]) if runs.failed else 0)


if __name__ == "__main__":
    main()
