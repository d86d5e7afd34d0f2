"""Ways to treat unclicked rows on worlds whose every conversion is known: the methods of the ESMM paper's table, and later ones.

Each world is one of `polytask.data.synthetic.EntireSpace`: a seed and a correlation of click and conversion logits. Every method
has the same encoder, sizes, rows and passes, and tries the same learning rates on the first two worlds of each correlation; one
rate a method is chosen by CVR AUC on clicked validation rows, which is all that a log shows. Methods of the paper's table have an
encoder a task, as its networks do; ESMM and the estimators after it share its embeddings and nothing else, as the paper has it;
"BASE, shared" tells what is due to that, "ESMM, shared_bottom" shares a layer too.

CTCVR AUC is that of the product with p(click) of one net that is trained apart and serves all methods, as in the paper. Intervals
are of Student over worlds; differences are paired by world.

    python benchmarks/quality/entire_space.py [--seeds 20] [--jobs N] [--only BASE,ESMM] [--correlations -0.6,0,0.6]
        [--quick] [--cached] [--no-record]

What is trained is kept below --work: an interrupted run goes on where it was.
"""

import argparse
import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path[1:1] = [str(Path(__file__).parents[1]), str(Path(__file__).parent)]

import numpy as np
from _conversion_arms import ARMS, CTR, EPOCHS, RATES, ROWS, TRUTH, Job, read, run
from _record import record, row
from _runs import train_missing
from scipy.stats import kendalltau
from scipy.stats import t as student

from polytask.data.synthetic import EntireSpace

TUNED_ON = 2  # worlds of each correlation on which rates are tried
PAPER = {  # AUC in percent: Ma et al. 2018, table 2
    "BASE": (66.00, 62.07),
    "AMAN": (65.21, 63.53),
    "OVERSAMPLING": (67.18, 63.05),
    "UNBIAS": (66.65, 63.56),
    "DIVISION": (67.56, 63.62),
    "ESMM-NS": (68.25, 64.44),
    "ESMM": (68.56, 65.32),
}
MAIN = {"cvr_auc_clicked": "CVR AUC", "ctcvr_auc": "CTCVR AUC"}
ALSO = (
    *("cvr_auc_all", "log_loss_all", "rank_correlation", "calibration_all", "calibration_clicked", "calibration_rarely"),
    *("above_one", "greatest", "ugly_rank"),
)
COMPARED = {
    "cvr_auc_clicked": "value",
    **{name: name for name in ("ctcvr_auc", "cvr_auc_all", "log_loss_all", "rank_correlation", "bias")},
}
BASELINES = ("BASE", "ESMM")
ESTIMATORS = ("ips", "snips", "dr", "counterfactual")
SHARED = "BASE, shared"  # differs from the estimators in nothing but the weights of its rows
CAVEAT = (
    "Equal encoders, sizes, rows and passes; the rate of each method is chosen on clicked validation rows of two worlds a "
    "correlation, which are among those reported (their test rows are not). Options of spaces are their defaults but clip .01. "
    "calibration is mean estimate over mean truth; rarely: the tenth of rows with the lowest p(click); ugly_rank: mean rank by "
    "estimate of items few click and many buy, 1 is the top."
)
Found = dict[str, np.ndarray]
"""Metrics by name, a number a world."""


class Runs:
    """What is trained and where it is kept."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options, self.failed, self.rates = options, [], {}

    def job(self, correlation: float, arm: str, lr: float, seed: int) -> Job:
        o = self.options
        return Job(correlation, arm, lr, seed, str(o.work), o.quick, 0.0 if arm == CTR else self.rates.get(CTR, 0.0))

    def train(self, arms: Iterable[str]) -> None:
        """The trials of some methods, then all worlds at the rate of each."""
        o, arms = self.options, list(arms)
        tuned = [(p, lr, seed) for seed in self.tuned_on for p in o.correlations for lr in RATES]
        self._train(self.job(p, arm, lr, seed) for p, lr, seed in tuned for arm in arms)
        self.rates |= {arm: self.chosen(arm) for arm in arms}
        self._train(self.job(p, arm, self.rates[arm], s) for s in range(o.seeds) for p in o.correlations for arm in arms)

    @property
    def tuned_on(self) -> range:
        return range(min(TUNED_ON, self.options.seeds))

    def chosen(self, arm: str) -> float:
        """The rate of the best mean AUC on validation rows of all correlations; the first where nothing is trained."""
        scores = {}
        for lr in RATES:
            jobs = [self.job(p, arm, lr, seed) for p in self.options.correlations for seed in self.tuned_on]
            if all(job.file.exists() for job in jobs):
                scores[lr] = np.mean([read(job)["valid_auc"] for job in jobs])
        return max(scores, key=scores.get) if scores else RATES[0]

    def found(self, correlation: float, arm: str) -> Found:
        """Metrics of the worlds on which all methods are trained; of the truth where that is asked."""
        net = CTR if arm == TRUTH else arm
        worlds = [read(self.job(correlation, net, self.rates[net], seed)) for seed in self.worlds(correlation)]
        if arm == TRUTH:
            worlds = [{name.removeprefix(f"{TRUTH}: "): value for name, value in world.items()} for world in worlds]
        metrics = {name: np.array([world[name] for world in worlds]) for name in (worlds[0] if worlds else ())}
        return metrics | ({"bias": metrics["calibration_all"] - 1} if metrics else {})

    def worlds(self, correlation: float) -> list[int]:
        arms = [CTR, *self.options.only]
        seeds = range(self.options.seeds)
        return [s for s in seeds if all(self.job(correlation, arm, self.rates[arm], s).file.exists() for arm in arms)]

    def _train(self, jobs: Iterable[Job]) -> None:
        if not self.options.cached:
            failed = train_missing(jobs, run, told, processes=self.options.jobs)
            self.failed += [f"correlation {job.correlation:g} {job.arm}: {error}" for job, error in failed]


def told(job: Job) -> str:
    took = f": {read(job)['seconds']:.1f} s" if job.file.exists() else ""
    return f"correlation {job.correlation:g} {job.arm} lr {job.lr:g} seed {job.seed}{took}"


# --- tables


def main_rows(runs: Runs, correlation: float) -> list[dict]:
    """A row a method: CVR AUC on clicked rows, and beside it all other metrics."""
    table = []
    for arm in (*runs.options.only, TRUTH):
        found = runs.found(correlation, arm)
        if not found:
            continue
        value = found["cvr_auc_clicked"]
        note = "" if arm == TRUTH else f"lr {runs.rates[arm]:g}"
        entry = row(f"correlation {correlation:g}: {arm}", float(value.mean()), "CVR AUC", interval=interval(value), note=note)
        entry |= {name: float(found[name].mean()) for name in ("ctcvr_auc", *ALSO)} | {"worlds": len(value)}
        table.append(entry | ({} if arm == TRUTH else {"cpu_seconds": round(float(found["seconds"].mean()), 1)}))
    return table


def differences(runs: Runs, correlation: float, baseline: str) -> list[dict]:
    """A row a method: paired differences to the baseline, of `bias` those of its absolute value."""
    table = []
    for arm in runs.options.only:
        mine, theirs = runs.found(correlation, arm), runs.found(correlation, baseline)
        if arm == baseline or not mine:
            continue
        mine["bias"], theirs["bias"] = abs(mine["bias"]), abs(theirs["bias"])
        entry = row(f"correlation {correlation:g}: {arm}", 0.0, "CVR AUC", against=baseline, note=published(arm, baseline))
        for name, column in COMPARED.items():
            less = mine[name] - theirs[name]
            entry |= {column: float(less.mean()), "interval" if column == "value" else f"{column}_interval": interval(less)}
        table.append(entry)
    return table


def published(arm: str, baseline: str) -> str:
    if arm not in PAPER:
        return ""
    cvr, ctcvr = (f"{(mine - theirs) / 100:+.4f}" for mine, theirs in zip(PAPER[arm], PAPER[baseline], strict=True))
    return f"paper: {cvr}, CTCVR {ctcvr}"


def interval(values: np.ndarray) -> list[float] | None:
    """95 % interval of a mean over worlds, of Student."""
    if len(values) < 2:
        return None
    half = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return [float(values.mean() - half), float(values.mean() + half)]


# --- what the paper, and those after it, say


def claims(runs: Runs, correlation: float) -> list[dict]:
    """Each claim as a number with its interval, whether it comes out or not."""
    found = {arm: metrics for arm in runs.options.only if (metrics := runs.found(correlation, arm))}
    table = [order(found, name, place) for place, name in enumerate(MAIN)] if set(PAPER) <= set(found) else []
    if "AMAN" in found:
        table.append(claim("AMAN underestimates: mean estimate / mean truth is below 1", found["AMAN"]["calibration_all"]))
    for arm, what in (("DIVISION", "exceeds 1 on some rows: their share"), ("ESMM", "never exceeds 1: share of rows above")):
        if arm in found:
            about = f"greatest estimate {found[arm]['greatest'].max():.3f}"
            table.append(claim(f"{arm} {what}", found[arm]["above_one"], about))
    if "ESMM" in found:
        table.append(claim("ESMM promises too much where clicks select: mean estimate / mean truth - 1", found["ESMM"]["bias"]))
    for other in ("ESMM", SHARED):
        table += [shrunk(found, arm, other) for arm in ESTIMATORS if {arm, other} <= set(found)]
    return [entry | {"what": f"correlation {correlation:g}: {entry['what']}"} for entry in table]


def claim(what: str, values: np.ndarray, note: str = "") -> dict:
    return row(what, float(values.mean()), "", interval=interval(values), note=note)


def order(found: dict[str, Found], metric: str, place: int) -> dict:
    """Kendall's rank correlation of our mean AUCs with the paper's, and the signs of differences to BASE that agree."""
    ours = {arm: found[arm][metric] for arm in PAPER}
    tau = kendalltau([ours[arm].mean() for arm in PAPER], [auc[place] for auc in PAPER.values()]).statistic
    gains = {arm: np.sign(PAPER[arm][place] - PAPER["BASE"][place]) for arm in PAPER if arm != "BASE"}
    same = [arm for arm, sign in gains.items() if np.sign((ours[arm] - ours["BASE"]).mean()) == sign]
    note = f"signs against BASE as in the paper: {len(same)} of {len(gains)} ({', '.join(same)})"
    return row(f"order of the paper's table, {MAIN[metric]}", float(tau), "Kendall tau", note=note)


def shrunk(found: dict[str, Found], arm: str, other: str) -> dict:
    """By which share a method's bias is less than another's: of the means over worlds, worlds resampled."""
    bias = np.stack([found[other]["bias"], found[arm]["bias"]])
    drawn = bias[:, np.random.default_rng(0).integers(bias.shape[1], size=(4000, bias.shape[1]))].mean(-1)
    share = [1 - abs(mine) / abs(theirs) for theirs, mine in (bias.mean(1), drawn)]
    ends = [float(bound) for bound in np.quantile(share[1], [0.025, 0.975])]
    note = f"bias {bias[1].mean():+.3f} in place of {bias[0].mean():+.3f}; at least .5 is claimed"
    return row(f"{arm} shrinks the bias: by this share", float(share[0]), "", interval=ends, against=other, note=note)


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=20, help="worlds of each correlation")
    parser.add_argument("--only", default=list(ARMS), type=lambda text: text.split(","), help="methods")
    numbers = lambda text: [float(part) for part in text.split(",")]  # noqa: E731
    parser.add_argument("--correlations", default=list(EntireSpace.CORRELATIONS), type=numbers)
    parser.add_argument("--jobs", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "polytask-entire-space")
    parser.add_argument("--quick", action="store_true", help="fewer rows: shows that the whole path works; nothing is recorded")
    parser.add_argument("--cached", action="store_true", help="train nothing: tables of what is below --work")
    parser.add_argument("--no-record", action="store_true")
    parser.add_argument("--caveat", default="", help="what holds against the numbers, such as a busy machine")
    return parser.parse_args()


def main() -> None:
    options = parsed()
    runs = Runs(options)
    runs.train([CTR])
    runs.train(options.only)
    table = [entry for p in options.correlations for entry in main_rows(runs, p)]
    more = {"claims": [entry for p in options.correlations for entry in claims(runs, p)]}
    for baseline in BASELINES:
        if baseline in options.only:
            more[f"against_{baseline.lower()}"] = [e for p in options.correlations for e in differences(runs, p, baseline)]
    for entry in (*table, *(entry for part in more.values() for entry in part)):
        print({key: round(v, 4) if isinstance(v, float) else v for key, v in entry.items() if v not in (None, "")})
    if not (options.quick or options.no_record):
        caveat = f"{CAVEAT} {ROWS:,} rows, {EPOCHS} passes. {options.caveat}".strip()
        title = "Ways to treat unclicked rows, on worlds whose every conversion is known"
        record("entire_space", table, title=title, seeds=range(options.seeds), rivals=["scipy"], caveat=caveat, **more)
    sys.exit("\n".join(["Some trainings failed:", *dict.fromkeys(runs.failed)]) if runs.failed else 0)


if __name__ == "__main__":
    main()
