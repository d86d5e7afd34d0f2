"""Remedies for position bias on ranked lists whose relevance and examination are known, and what becomes of each in its own loop.

Each world is one of `polytask.data.synthetic.Positions`: a seed. Every remedy has the same network, rows, passes and rate; none
was tuned. (a) A model learns from the log of the earlier policy; its served scores are held against true relevance. (b) From a
longer log the curve of examination is recovered. (c) The model ranks, is trained on all logs so far, ranks again, five times; two
also in a loop that keeps the newest log alone. Intervals are of Student over worlds; differences are paired by world.

"As published" is the shallow tower whose dropped rows teach the model too; ours only teach what missing columns are worth.

    python benchmarks/quality/position_bias.py [--seeds 20] [--jobs N] [--only "ARM;ARM"] [--quick] [--cached] [--no-record]

What is trained is kept below --work: an interrupted run goes on where it was. About 20 minutes of two cores.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path[1:1] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import numpy as np
from _position_arms import ARMS, CURVES, FIRST, FORGETFUL, LONG, LOOP, ONCE, QUICK, Job, errors, floor, read, run
from _record import record, row
from _runs import train_missing
from scipy.stats import t as student

FORGETFUL_ARMS = ("no correction", "shallow tower, product")
TOWERS = ("shallow tower, logit", "shallow tower, product")
BASELINES = tuple(arm for arm in ARMS if arm.startswith(("no correction", "feature", "adversary")))
CAVEAT = (
    f"Simulated. (a): {FIRST['rows']:,} rows, {FIRST['epochs']} passes; (b): {LONG['rows']:,} rows, one pass; "
    f"(c): {LOOP['rows']:,} new rows a round, {LOOP['epochs']} passes over all so far, or {FORGETFUL['rows']:,} and "
    f"{FORGETFUL['epochs']} over the newest. One rate for all, not tuned. The arm with random rows has 5 % of sessions in random "
    "order (for its curve 10 %). NDCG is of the first 10 by true relevance, without random sessions. calibration: mean served "
    "score over clicks of the log."
)
Found = dict[str, np.ndarray]
"""Metrics by name, a number a world."""


class Runs:
    """What is trained and where it is kept."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.failed = options, []

    def jobs(self, what: str, arm: str) -> list[Job]:
        return [Job(what, arm, seed, str(self.options.work), self.options.quick) for seed in range(self.options.seeds)]

    def train(self) -> None:
        loops = [self.jobs("first", arm) for arm in self.options.only]
        loops += [self.jobs("loop", arm) for arm in self.options.only if arm not in ONCE]
        loops += [self.jobs("forgetful", arm) for arm in FORGETFUL_ARMS if arm in self.options.only]
        curves = [self.jobs("curve", arm) for arm in CURVES if arm in self.options.only or arm not in ARMS]
        by_world = [job for world in zip(*loops, *curves, strict=True) for job in world]
        self.failed = train_missing(by_world, run, told, processes=self.options.jobs)

    def loops(self, arm: str, what: str = "first") -> Found:
        worlds = [read(job) for job in self.jobs(what, arm) if job.file.exists()]
        found = {name: np.array([world[name] for world in worlds]) for name in (worlds[0] if worlds else ())}
        if found:
            found |= {"first": found["ndcg"][:, 0], "last": found["ndcg"][:, -1], "off": abs(np.log(found["calibration"]))}
        return found

    def curves(self, arm: str, key: str = "curve") -> Found:
        worlds = [errors(read(job)[key], job.world) for job in self.jobs("curve", arm) if job.file.exists() and key in read(job)]
        return {name: np.array([world[name] for world in worlds]) for name in (worlds[0] if worlds else ())}


def told(job: Job) -> str:
    return f"{job.what} {job.arm} seed {job.seed}" + (f": {read(job)['seconds']:.1f} s" if job.file.exists() else "")


# --- tables


def main_rows(runs: Runs) -> list[dict]:
    """A row a remedy: rank correlation with true relevance, and beside it NDCG after the first and the last round."""
    table = []
    for arm in runs.options.only:
        if not (found := runs.loops(arm)):
            continue
        entry = row(arm, float(found["spearman"].mean()), "Spearman", interval=interval(found["spearman"]))
        entry |= {"ndcg_first": float(found["first"].mean())}
        if loop := runs.loops(arm, "loop"):
            entry |= {"ndcg_last": float(loop["last"].mean()), "ndcg_last_interval": interval(loop["last"])}
            entry |= {"clicks_last": float(loop["click_rate"][:, -1].mean())}
        entry |= {"calibration": float(found["calibration"].mean()), "calibration_off": float(found["off"].mean())}
        table.append(entry | {"worlds": len(found["first"]), "cpu_seconds": round(float(found["seconds"].mean()), 1)})
    return table


def forgetful(runs: Runs) -> list[dict]:
    """NDCG of loops that keep the newest log alone, after the first and the last round."""
    table = []
    for arm in FORGETFUL_ARMS:
        if found := runs.loops(arm, "forgetful"):
            entry = row(f"newest log alone: {arm}", float(found["last"].mean()), "NDCG", interval=interval(found["last"]))
            table.append(entry | {"ndcg_first": float(found["first"].mean())})
    return table


def differences(runs: Runs) -> list[dict]:
    """Each shallow tower against each of the first three, paired by world."""
    table = []
    for tower in TOWERS:
        for baseline in BASELINES:
            for what, metric, unit in (("first", "spearman", "Spearman"), ("loop", "last", "NDCG after the last round")):
                mine, theirs = runs.loops(tower, what), runs.loops(baseline, what)
                if mine and theirs:
                    table.append(paired(tower, baseline, mine[metric], theirs[metric], unit))
    return table


def paired(ours: str, theirs: str, mine: np.ndarray, other: np.ndarray, unit: str) -> dict:
    both = min(len(mine), len(other))
    less = mine[:both] - other[:both]
    note = f"more in {int((less > 0).sum())} of {both} worlds"
    return row(ours, float(less.mean()), unit, interval=interval(less), against=theirs, note=note)


def curve_rows(runs: Runs) -> list[dict]:
    """A row an estimator: greatest relative error of the curve over positions, mean over worlds, and where it does not fall."""
    rows = QUICK["rows"] if runs.options.quick else LONG["rows"]
    table = []
    known = [floor(job.world, rows) for job in runs.jobs("curve", CURVES[0])]
    chance = {name: np.array([world[name] for world in known]) for name in known[0]}
    found = {arm: runs.curves(arm) for arm in CURVES}
    found |= {f"{arm}, as the tower ended": runs.curves(arm, "as_learnt") for arm in CURVES if arm in ARMS}
    found |= {"true relevance known": chance}
    for arm, error in found.items():
        if error:
            entry = row(f"curve: {arm}", float(error["error"].mean()), "relative error", interval=interval(error["error"]))
            within = f"within 5 % in {int((error['error'] <= 0.05).sum())} of {len(error['error'])} worlds"
            entry |= {"worst_device": float(error["by_device"].mean()), "rising_steps": float(error["rising"].mean())}
            table.append(entry | {"note": within})
    return table


def claims(runs: Runs) -> list[dict]:
    """What drop-out is for, and what it costs: with against without, and ours against the published form."""
    table = []
    for tower in TOWERS:
        ours = runs.loops(tower)
        for other in (f"{tower}, no drop-out", f"{tower}, as published"):
            theirs = runs.loops(other)
            for metric, unit in (
                (("spearman", "Spearman"), ("first", "NDCG"), ("off", "|log calibration|")) if ours and theirs else ()
            ):
                table.append(paired(tower, other, ours[metric], theirs[metric], unit))
    return table


def interval(values: np.ndarray) -> list[float] | None:
    """95 % interval of a mean over worlds, of Student."""
    if len(values) < 2:
        return None
    half = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return [float(values.mean() - half), float(values.mean() + half)]


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default=list(ARMS), type=lambda text: text.split(";"), help="arms, parted by semicolons")
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "polytask-position-bias")
    parser.add_argument("--quick", action="store_true", help="few rows, one pass, one round: shows that the whole path works")
    parser.add_argument("--cached", action="store_true", help="train nothing: tables of what is below --work")
    parser.add_argument("--no-record", action="store_true")
    parser.add_argument("--caveat", default="", help="what holds against the numbers, such as a busy machine")
    return parser.parse_args()


def main() -> None:
    options = parsed()
    runs = Runs(options)
    if not options.cached:
        runs.train()
    tables = {"rows": main_rows(runs), "differences": differences(runs), "curves": curve_rows(runs)}
    tables |= {"newest_log_alone": forgetful(runs), "drop_out": claims(runs)}
    for entry in (entry for table in tables.values() for entry in table):
        print({key: value for key, value in entry.items() if value not in (None, "")})
    if not (options.quick or options.no_record):
        title = "Remedies for position bias on ranked lists with known relevance: one log, the curve, five rounds on own logs"
        caveat = f"{CAVEAT} {options.caveat}".strip()
        record("position_bias", tables.pop("rows"), title=title, seeds=range(options.seeds), caveat=caveat, **tables)
    sys.exit("\n".join([f"{job.arm}: {error}" for job, error in runs.failed]) if runs.failed else 0)


if __name__ == "__main__":
    main()
