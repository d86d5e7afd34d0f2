"""Chains, amounts and selection on three real logs: networks of several tasks against one LightGBM a task.

Run: python benchmarks/quality/real_logs.py --source DIR [--logs hillstrom,ausprivauto,coat] [--seeds 20] [--jobs 2] [--quick]

Hillstrom: e-mail -> visit -> purchase -> spend, e-mails at random, so the true effect of a mail is known within its interval and
is held against what the models predict. ausprivauto: policy -> claim -> amount. Coat: trained on ratings of coats that people
chose, judged on coats they were given at random. One recipe for all networks and one for all trees, none tuned. On the first two
each seed has its own split. Predictions are kept below --work, so an interrupted run goes on where it was.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
sys.path.insert(0, str(Path(__file__).parents[1]))

import numpy as np
import pandas as pd
from _logs import ARMS, MAILS, NO_MAIL, Job, run
from _paired import RESAMPLES
from _record import record, row
from scipy.stats import t as student

from polytask.metrics import (
    auc,
    calibration_error,
    calibration_ratio,
    decile_error,
    log_loss,
    mae,
    ndcg,
    normalised_gini,
    rmse,
)

AGAINST = "lightgbm"
TEST_OVER_TRAIN = 0.2 / 0.6
CAVEAT = (
    "One recipe for all networks and one for LightGBM, none tuned. Hillstrom and ausprivauto: every seed has its own split "
    "60/20/20; 95 % intervals are Student's with the variance corrected for overlapping splits (Nadeau & Bengio 2003), and also "
    "those of differences, which are paired. Isotonic predictions fill fewer bins, so their calibration error is less "
    "biased: look at log loss. Coat: the given test; intervals resample people and take one of the seeds each time."
)
Found = dict[str, np.ndarray]


def interval(values: np.ndarray) -> list[float] | None:
    """95 % interval of a mean over splits that share rows: `t sqrt((1 / J + n_test / n_train) s^2)`."""
    if len(values) < 2:
        return None
    half = student.ppf(0.975, len(values) - 1) * np.sqrt((1 / len(values) + TEST_OVER_TRAIN) * values.var(ddof=1))
    return [float(values.mean() - half), float(values.mean() + half)]


def compared(
    log: str, results: dict[str, list[Found]], metrics: dict[str, tuple[str, Callable[[Found], float | None]]]
) -> list[dict]:
    """A row for each metric and arm, beside the paired difference to LightGBM."""
    table = []
    for what, (unit, metric) in metrics.items():
        values = {arm: np.array([metric(found) for found in seeds], dtype=float) for arm, seeds in results.items()}
        for arm, mine in values.items():
            if np.isnan(mine).all():
                continue
            entry = row(f"{log}, {what}: {arm}", float(mine.mean()), unit, interval=interval(mine))
            theirs = values.get(AGAINST)
            if theirs is not None and arm != AGAINST and not np.isnan(theirs).all():
                both = min(len(mine), len(theirs))
                difference = mine[:both] - theirs[:both]
                entry |= {"against": AGAINST, "difference": float(difference.mean()), "difference_interval": interval(difference)}
            table.append(entry)
    return table


# --- Hillstrom

CHAIN = {
    "visit": ("AUC", lambda found: auc(found["label/visit"], found["test/visit"])),
    "purchase given visit": ("AUC", lambda found: auc(*visited(found))),
    "purchase, all rows": ("AUC", lambda found: auc(found["label/conversion"], found["test/joint"])),
    "purchase, all rows, log loss": (
        "nats x 1000",
        lambda found: 1000 * log_loss(found["label/conversion"], found["test/joint"]),
    ),
    "spend, all rows": ("Gini", lambda found: normalised_gini(found["label/spend"], found["test/spend"])),
    "visit, predicted over observed": ("x", lambda found: calibration_ratio(found["label/visit"], found["test/visit"])),
    "purchase, predicted over observed": ("x", lambda found: calibration_ratio(found["label/conversion"], found["test/joint"])),
    "spend, predicted over observed": ("x", lambda found: calibration_ratio(found["label/spend"], found["test/spend"])),
}


def visited(found: Found) -> tuple[np.ndarray, np.ndarray]:
    rows = found["label/visit"] == 1
    return found["label/conversion"][rows], found["test/conversion"][rows]


def effects(results: dict[str, list[Found]], source: str) -> list[dict]:
    """Effect of each mail: as randomised (all rows, Wald interval), and as each arm predicts it on its test rows."""
    frame, table = pd.read_csv(Path(source) / "hillstrom" / "hillstrom.csv.gz"), []
    for mail in MAILS:
        for label, name in (("visit", "visit"), ("conversion", "joint"), ("spend", "spend")):
            treated, control = (frame.loc[frame["segment"] == arm, label].to_numpy(float) for arm in (mail, NO_MAIL))
            effect, half = (
                treated.mean() - control.mean(),
                1.96 * np.sqrt(treated.var() / len(treated) + control.var() / len(control)),
            )
            what, unit = f"{mail}, effect on {label}", "dollars" if label == "spend" else "x 100"
            scale = 1 if label == "spend" else 100
            bounds = (scale * (effect - half), scale * (effect + half))
            table.append(row(f"{what}: randomised", scale * effect, unit, interval=bounds, note="all 64,000 rows"))
            for arm, seeds in results.items():
                values = scale * np.array([(found[f"{mail}/{name}"] - found[f"{NO_MAIL}/{name}"]).mean() for found in seeds])
                inside = bounds[0] <= values.mean() <= bounds[1]
                note = "inside the randomised interval" if inside else "outside of the randomised interval"
                table.append(row(f"{what}: {arm}", float(values.mean()), unit, interval=interval(values), note=note))
    return table


def moved(results: dict[str, list[Found]]) -> list[dict]:
    """Randomised effect on visits among test rows whose predicted effect is above its median, less that among the others."""

    def effect(found: Found, rows: np.ndarray, mail: str) -> float:
        means = [found["label/visit"][rows & (found["segment"] == arm)].mean() for arm in (mail, NO_MAIL)]
        return means[0] - means[1]

    table = []
    for mail in MAILS:
        for arm, seeds in results.items():
            values = []
            for found in seeds:
                uplift = found[f"{mail}/visit"] - found[f"{NO_MAIL}/visit"]
                high = uplift > np.median(uplift)
                values.append(100 * (effect(found, high, mail) - effect(found, ~high, mail)))
            what = f"{mail}, effect on visits, upper less lower half: {arm}"
            table.append(row(what, float(np.mean(values)), "x 100", interval=interval(np.array(values))))
    return table


def calibrated(results: dict[str, list[Found]]) -> list[dict]:
    """Purchases on all rows: raw product, product of calibrated parts, calibrated joint."""
    ways = {"raw": "test/joint"}
    for name in ("platt", "isotonic"):
        ways |= {f"{name}, parts": f"{name}/product", f"{name}, joint": f"{name}/joint"}
    judges = {"calibration error": ("x 1000", calibration_error, 1000), "log loss": ("nats x 1000", log_loss, 1000)}
    judges |= {"predicted over observed": ("x", calibration_ratio, 1)}
    table = []
    for what, (unit, judge, scale) in judges.items():
        for arm, seeds in results.items():
            values = {
                way: np.array([scale * judge(found["label/conversion"], found[key]) for found in seeds])
                for way, key in ways.items()
            }
            for way, mine in values.items():
                entry = row(f"purchase, {what}: {arm}, {way}", float(mine.mean()), unit, interval=interval(mine))
                if way != "raw":
                    difference = mine - values["raw"]
                    entry |= {
                        "against": "raw",
                        "difference": float(difference.mean()),
                        "difference_interval": interval(difference),
                    }
                table.append(entry)
    return table


# --- ausprivauto

AMOUNTS = {
    "claim": ("AUC", lambda found: auc(found["label/claim"], found["claim"]) if "claim" in found else None),
    "claim, calibration error": (
        "x 1000",
        lambda f: 1000 * calibration_error(f["label/claim"], f["claim"]) if "claim" in f else None,
    ),
    "amount": ("Gini", lambda found: normalised_gini(found["label/amount"], found["amount"])),
    "amount, predicted over observed": ("x", lambda found: calibration_ratio(found["label/amount"], found["amount"])),
    "amount, error of tenths": ("x", lambda found: decile_error(found["label/amount"], found["amount"])),
    "amount, RMSE": ("dollars", lambda found: rmse(found["label/amount"], found["amount"])),
    "amount, MAE": ("dollars", lambda found: mae(found["label/amount"], found["amount"])),
}

# --- Coat

RANDOM_TEST = {
    "rating, MSE": ("", lambda found, rows: float(((found["rating"] - found["label/rating"])[rows] ** 2).mean())),
    "rating, MAE": ("", lambda found, rows: mae(found["label/rating"][rows], found["rating"][rows])),
    "rating, predicted less observed": ("", lambda found, rows: float((found["rating"] - found["label/rating"])[rows].mean())),
    "like": ("AUC", lambda found, rows: auc(found["label/like"][rows], found["like"][rows])),
    "like, predicted over observed": ("x", lambda found, rows: calibration_ratio(found["label/like"][rows], found["like"][rows])),
    "ratings": (
        "NDCG@5",
        lambda found, rows: ndcg(found["label/rating"][rows] - 1, found["rating"][rows], groups=people(found, rows), k=5),
    ),
}


def people(found: Found, rows: np.ndarray) -> np.ndarray:
    """Groups of resampled rows: one that was drawn twice is two groups."""
    drawn = np.concatenate([[0], np.cumsum(np.diff(rows) != 1)])  # rows of one person follow each other
    return found["person"][rows] + 1000 * drawn


def selection(results: dict[str, list[Found]], resamples: int) -> list[dict]:
    """A row for each metric and arm, beside the paired difference to the naive way of the same model."""
    person, random = next(iter(results.values()))[0]["person"], np.random.default_rng(0)
    own = np.split(np.arange(len(person)), np.flatnonzero(np.diff(person)) + 1)
    draws = [np.concatenate([own[i] for i in random.integers(len(own), size=len(own))]) for _ in range(resamples)]
    num_seeds = min(map(len, results.values()))
    chosen = random.integers(num_seeds, size=resamples)
    table = []
    for what, (unit, metric) in RANDOM_TEST.items():
        whole = {arm: np.array([metric(found, np.arange(len(person))) for found in seeds]) for arm, seeds in results.items()}
        again = {
            arm: np.array([metric(seeds[seed], rows) for seed, rows in zip(chosen, draws, strict=True)])
            for arm, seeds in results.items()
        }
        for arm, values in whole.items():
            entry = row(f"coat, {what}: {arm}", float(values.mean()), unit, interval=ends(again[arm]))
            naive = arm.replace("inverse propensity", "naive")
            if naive != arm:
                entry |= {"against": naive, "difference": float((values[:num_seeds] - whole[naive][:num_seeds]).mean())}
                entry["difference_interval"] = ends(again[arm] - again[naive])
            table.append(entry)
    return table


def ends(values: np.ndarray) -> list[float]:
    return [float(end) for end in np.quantile(values, [0.025, 0.975])]


# --- all


def train(jobs: list[Job], num_jobs: int) -> list[str]:
    """Trains what is missing, a process a core; tells what failed."""
    missing, failed = [job for job in jobs if not job.file.exists()], []
    with ProcessPoolExecutor(num_jobs, mp_context=get_context("spawn")) as pool:
        running = {pool.submit(run, job): job for job in missing}
        for done, future in enumerate(as_completed(running), start=1):
            job, error = running[future], future.exception()
            failed += [f"{job.log} {job.arm} seed {job.seed}: {error!r}"] if error else []
            print(
                f"{done}/{len(missing)} {job.log} {job.arm} seed {job.seed}{f': failed, {error!r}' if error else ''}", flush=True
            )
    return failed


def read(jobs: list[Job]) -> list[Found]:
    found = []
    for job in jobs:
        if job.file.exists():
            with np.load(job.file) as stored:
                found.append({name: stored[name] for name in stored.files})
    return found


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--source", default=os.environ.get("POLYTASK_DATA"), help="folder of data sets; POLYTASK_DATA where not given"
    )
    parser.add_argument("--logs", default=",".join(ARMS), type=lambda text: text.split(","))
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "polytask-real-logs")
    parser.add_argument(
        "--quick", action="store_true", help="two seeds, few rows and steps: shows that all works; nothing is recorded"
    )
    parser.add_argument("--no-record", action="store_true")
    parser.add_argument("--caveat", default="", help="what else holds against the numbers, such as a busy machine")
    return parser.parse_args()


def main() -> None:
    options = parsed()
    if options.source is None:
        sys.exit("Name the folder of the data sets: --source DIR, or POLYTASK_DATA.")
    seeds = range(2 if options.quick else options.seeds)
    made = (str(options.source), str(options.work), options.quick)
    jobs = {(log, arm): [Job(log, arm, seed, *made) for seed in seeds] for log in options.logs for arm in ARMS[log]}
    in_turns = [own[place] for place in range(len(seeds)) for own in jobs.values()]
    failed = train(in_turns, options.jobs)
    results = {log: {arm: found for arm in ARMS[log] if (found := read(jobs[log, arm]))} for log in options.logs}
    tables = tables_of(results, str(options.source), 50 if options.quick else RESAMPLES)
    for name, table in tables.items():
        print(f"\n{name}")
        for entry in table:
            print({key: value for key, value in entry.items() if value not in (None, "")})
    if not (options.quick or options.no_record):
        title = "Three real logs: a funnel with randomised mails (Hillstrom), claims (ausprivauto), chosen ratings (Coat)"
        rows = tables.pop("rows", [])
        caveat = f"{CAVEAT} {options.caveat}".strip()
        record("real_logs", rows, title=title, seeds=list(seeds), rivals=["lightgbm"], caveat=caveat, **tables)
    sys.exit("\n".join(["Some trainings failed:", *dict.fromkeys(failed)]) if failed else 0)


def tables_of(results: dict[str, dict[str, list[Found]]], source: str, resamples: int) -> dict[str, list[dict]]:
    tables = {}
    if results.get("hillstrom"):
        tables["rows"] = compared("Hillstrom", results["hillstrom"], CHAIN)
        tables["effects"] = effects(results["hillstrom"], source)
        tables["moved"] = moved(results["hillstrom"])
        tables["calibrated"] = calibrated(results["hillstrom"])
    if results.get("ausprivauto"):
        tables["amounts"] = compared("ausprivauto", results["ausprivauto"], AMOUNTS)
    if results.get("coat"):
        tables["selection"] = selection(results["coat"], resamples)
    return tables


if __name__ == "__main__":
    main()
