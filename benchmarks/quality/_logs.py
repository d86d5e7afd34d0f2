"""Three real logs with a chain, a zero-inflated amount or a selection: their rows, and one training of one arm on one seed."""

import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch

import polytask
from polytask.calibration import Isotonic, Platt
from polytask.tasks import Binary, Regression, Task, Value
from polytask.train._malloc import keep_freed_memory

NET = {
    "encoder": {"name": "tabular", "embedding_dim": 8, "numeric_dim": 8, "embedding_scale": 0.05},
    "heads": {"hidden": [32]},
    "optimizer": {"lr": 2e-3, "weight_decay": 0.1},
}
TRAIN = {"epochs": 8, "batch_size": 512, "patience": 2, "device": "cpu"}
HIDDEN = {"hidden": [64], "dropout": 0.1}
TREES = {"n_estimators": 500, "learning_rate": 0.05, "num_leaves": 15, "min_child_samples": 50, "verbose": -1, "n_jobs": 1}
PATIENCE = 30

# Hillstrom: who got which e-mail is random.
VISIT, CONVERSION = Binary("visit"), Binary("conversion", given="visit")
FUNNEL = [VISIT, CONVERSION, Regression("spend", given="conversion")]
WITH_VALUE = [VISIT, CONVERSION, Value("spend")]
PAST = {
    "recency": "numeric",
    "history": "numeric",
    "mens": "",
    "womens": "",
    "zip_code": "",
    "newbie": "",
    "channel": "",
    "segment": "",
}
MAILS = ("Mens E-Mail", "Womens E-Mail")
NO_MAIL = "No E-Mail"
# ausprivauto: one row a policy.
CLAIM = Binary("ClaimOcc")
CLAIMS = [CLAIM, Regression("ClaimAmount", given="ClaimOcc")]
POLICY = {"Exposure": "numeric", "VehValue": "numeric", "VehAge": "", "VehBody": "", "Gender": "", "DrivAge": ""}
# Coat: ratings of what people chose themselves; judged on what they were given at random.
RATINGS = [Regression("rating"), Binary("like")]
LIKED = 4

Arm = tuple[list[Task], dict[str, Any]]
ARMS: dict[str, dict[str, Arm | None]] = {
    "hillstrom": {
        "single_task": (FUNNEL, {"sharing": {"name": "single_task", **HIDDEN}}),
        "shared_bottom": (FUNNEL, {"sharing": {"name": "shared_bottom", **HIDDEN}}),
        "mmoe": (FUNNEL, {"sharing": {"name": "mmoe", "num_experts": 4, **HIDDEN}}),
        "mmoe, entire space": (
            FUNNEL,
            {"sharing": {"name": "mmoe", "num_experts": 4, **HIDDEN}, "space": {"name": "entire_space"}},
        ),
        "mmoe, value": (WITH_VALUE, {"sharing": {"name": "mmoe", "num_experts": 4, **HIDDEN}}),
        "lightgbm": None,
    },
    "ausprivauto": {
        "single_task": (CLAIMS, {"sharing": {"name": "single_task", **HIDDEN}}),
        "shared_bottom": (CLAIMS, {"sharing": {"name": "shared_bottom", **HIDDEN}}),
        "value alone": ([Value("ClaimAmount")], {"sharing": {"name": "single_task", **HIDDEN}}),
        "shared_bottom, value": ([CLAIM, Value("ClaimAmount")], {"sharing": {"name": "shared_bottom", **HIDDEN}}),
        "lightgbm": None,
        "lightgbm, tweedie": None,
        "mean by exposure": None,
    },
    "coat": {
        f"{name}, {way}": made
        for way in ("naive", "inverse propensity")
        for name, made in {
            "shared_bottom": (RATINGS, {"sharing": {"name": "shared_bottom", **HIDDEN}}),
            "lightgbm": None,
            "mean": None,
        }.items()
    },
}


class Job(NamedTuple):
    """One training; kept under a key of all that decides it, so that an interrupted benchmark goes on where it was."""

    log: str
    arm: str
    seed: int
    source: str
    folder: str
    quick: bool

    @property
    def file(self) -> Path:
        arm = ARMS[self.log][self.arm]
        told = [NET, TRAIN, HIDDEN, TREES, PATIENCE, self.quick, arm and [str(arm[0]), arm[1]]]
        key = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:10]
        return Path(self.folder) / self.log / f"{self.arm.replace(', ', '-').replace(' ', '_')}-{key}-{self.seed}.npz"


class Parts(NamedTuple):
    """Rows that train, rows that stop the training and fit calibrations, and rows that judge."""

    train: pd.DataFrame
    valid: pd.DataFrame
    test: pd.DataFrame


def run(job: Job) -> Job:
    """Trains, unless its file is there."""
    if not job.file.exists():
        torch.set_num_threads(1)
        keep_freed_memory()
        started = time.process_time()
        parts = {"hillstrom": hillstrom, "ausprivauto": ausprivauto, "coat": coat}[job.log](Path(job.source), job.seed)
        if job.quick:
            parts = parts._replace(train=parts.train.iloc[:: max(len(parts.train) // 4000, 1)])
        found = {"hillstrom": on_hillstrom, "ausprivauto": on_ausprivauto, "coat": on_coat}[job.log](job, parts)
        job.file.parent.mkdir(parents=True, exist_ok=True)
        scratch = job.file.with_suffix(f".{os.getpid()}.part.npz")
        np.savez(scratch, seconds=time.process_time() - started, **found)
        scratch.replace(job.file)
    return job


def split(frame: pd.DataFrame, seed: int) -> Parts:
    """60, 20 and 20 % at random: each seed has its own."""
    order = np.random.default_rng(seed).permutation(len(frame))
    edges = [int(0.6 * len(frame)), int(0.8 * len(frame))]
    return Parts(*(frame.iloc[rows].reset_index(drop=True) for rows in np.split(order, edges)))


def network(job: Job, parts: Parts, columns: dict[str, str], **more: Any) -> Any:
    tasks, options = ARMS[job.log][job.arm]  # type: ignore[misc]
    features = [{"kind": kind or "categorical", "name": name} for name, kind in columns.items()]
    training = {**TRAIN, "seed": job.seed, **({"max_steps": 20} if job.quick else {})}
    made = {**NET, **options, "feature": features, "train": training, **more}
    return polytask.fit(parts.train, tasks, valid=parts.valid, **made)


def trees(parts: Parts, columns: dict[str, str], label: str, rows: str = "", weight: str = "", **options: Any) -> Any:
    """LightGBM on the rows where a column is 1, stopped on the validation rows; gives `frame -> predictions`."""
    import lightgbm

    def inputs(frame: pd.DataFrame) -> pd.DataFrame:
        levels = {name: sorted(parts.train[name].unique()) for name, kind in columns.items() if not kind}
        return pd.DataFrame({n: frame[n] if k else pd.Categorical(frame[n], levels[n]) for n, k in columns.items()})

    train, valid = (part[part[rows] == 1] if rows else part for part in (parts.train, parts.valid))
    weights = {"sample_weight": train[weight], "eval_sample_weight": [valid[weight]]} if weight else {}
    kind = lightgbm.LGBMClassifier if options.get("objective") == "binary" else lightgbm.LGBMRegressor
    model = kind(**TREES, **options)
    stop = [lightgbm.early_stopping(PATIENCE, verbose=False)]
    model.fit(inputs(train), train[label], eval_set=[(inputs(valid), valid[label])], callbacks=stop, **weights)
    if options.get("objective") == "binary":
        return lambda frame: model.predict_proba(inputs(frame))[:, 1]
    return lambda frame: model.predict(inputs(frame))


# --- Hillstrom


def hillstrom(source: Path, seed: int) -> Parts:
    return split(pd.read_csv(source / "hillstrom" / "hillstrom.csv.gz"), seed)


def on_hillstrom(job: Job, parts: Parts) -> dict[str, np.ndarray]:
    """Predictions of the test rows as they were, and with each of the three arms; calibrated ones; labels."""
    predict = funnel_trees(parts) if job.arm == "lightgbm" else funnel_of(network(job, parts, PAST))
    valid, test = predict(parts.valid), predict(parts.test)
    found = {f"test/{name}": values for name, values in test.items()}
    for arm in (*MAILS, NO_MAIL):
        found |= {f"{arm}/{name}": values for name, values in predict(parts.test.assign(segment=arm)).items()}
    for name, label in (("visit", "visit"), ("joint", "conversion")):
        for made in (Platt, Isotonic):
            fitted = made.fit(parts.valid[label].to_numpy(float), valid[name])
            found[f"{made.name}/{name}"] = fitted.apply(test[name])
    clicked = (parts.valid["visit"] == 1).to_numpy()
    for made in (Platt, Isotonic):  # parts alone
        first = made.fit(parts.valid["visit"].to_numpy(float), valid["visit"]).apply(test["visit"])
        second = made.fit(parts.valid["conversion"].to_numpy(float)[clicked], valid["conversion"][clicked])
        found[f"{made.name}/product"] = first * second.apply(test["conversion"])
    segment = parts.test["segment"].to_numpy().astype(str)
    return (
        found | {f"label/{name}": parts.test[name].to_numpy() for name in ("visit", "conversion", "spend")} | {"segment": segment}
    )


def funnel_of(fitted: Any) -> Any:
    def predict(frame: pd.DataFrame) -> dict[str, np.ndarray]:
        scores = fitted.predict(frame[list(PAST)])
        whole = "visit_and_conversion_and_spend"
        found = {"visit": scores["visit"], "conversion": scores["conversion"], "joint": scores["visit_and_conversion"]}
        found["spend"] = scores[whole if whole in scores else "spend"]
        return {name: values.to_numpy(np.float64) for name, values in found.items()}

    return predict


def funnel_trees(parts: Parts) -> Any:
    """One model a step, each on the rows where its step is possible."""
    visit = trees(parts, PAST, "visit", objective="binary")
    conversion = trees(parts, PAST, "conversion", rows="visit", objective="binary")
    spend = trees(parts, PAST, "spend", rows="conversion")

    def predict(frame: pd.DataFrame) -> dict[str, np.ndarray]:
        first, second = visit(frame), conversion(frame)
        return {"visit": first, "conversion": second, "joint": first * second, "spend": first * second * spend(frame)}

    return predict


# --- ausprivauto


def ausprivauto(source: Path, seed: int) -> Parts:
    return split(pd.read_csv(source / "ausprivauto" / "ausprivauto0405.csv.gz"), seed)


def on_ausprivauto(job: Job, parts: Parts) -> dict[str, np.ndarray]:
    """Chance of a claim (where the arm has one) and expected amount of the test rows; labels."""
    test = parts.test
    labels = {"label/claim": test["ClaimOcc"].to_numpy(), "label/amount": test["ClaimAmount"].to_numpy()}
    if job.arm == "mean by exposure":
        rates = {name: parts.train[name].sum() / parts.train["Exposure"].sum() for name in ("ClaimOcc", "ClaimAmount")}
        return labels | {
            "claim": (test["Exposure"] * rates["ClaimOcc"]).to_numpy(),
            "amount": (test["Exposure"] * rates["ClaimAmount"]).to_numpy(),
        }
    if job.arm == "lightgbm":
        claim = trees(parts, POLICY, "ClaimOcc", objective="binary")(test)
        return labels | {"claim": claim, "amount": claim * trees(parts, POLICY, "ClaimAmount", rows="ClaimOcc")(test)}
    if job.arm == "lightgbm, tweedie":
        return labels | {"amount": trees(parts, POLICY, "ClaimAmount", objective="tweedie", tweedie_variance_power=1.5)(test)}
    scores = network(job, parts, POLICY).predict(test[list(POLICY)])
    whole = "ClaimOcc_and_ClaimAmount"
    found = {"amount": scores[whole if whole in scores else "ClaimAmount"]} | (
        {"claim": scores["ClaimOcc"]} if "ClaimOcc" in scores else {}
    )
    return labels | {name: values.to_numpy(np.float64) for name, values in found.items()}


# --- Coat


def coat(source: Path, seed: int) -> Parts:
    """Rated pairs with what is known of person and coat; a tenth of the biased ratings stops the training."""
    folder = source / "coat"
    people, coats = (groups(folder, name) for name in ("user", "item"))
    chances = np.loadtxt(folder / "propensities.ascii.gz")

    def rated(name: str) -> pd.DataFrame:
        ratings = np.loadtxt(folder / f"{name}.ascii.gz")
        person, item = np.nonzero(ratings)
        frame = pd.concat([people.iloc[person].reset_index(drop=True), coats.iloc[item].reset_index(drop=True)], axis=1)
        rating, weight = ratings[person, item], 1 / chances[person, item]
        return frame.assign(
            person=person, coat=item, rating=rating, like=(rating >= LIKED).astype(int), weight=weight / weight.mean()
        )

    chosen = rated("train")
    order = np.random.default_rng(seed).permutation(len(chosen))
    train, valid = (chosen.iloc[rows].reset_index(drop=True) for rows in np.split(order, [int(0.9 * len(order))]))
    return Parts(train, valid, rated("test"))


def groups(folder: Path, name: str) -> pd.DataFrame:
    """One column a group of one-hot columns: `gender:men`, `gender:women`, ..."""
    names = (folder / f"{name}_features_map.txt").read_text().split("\n")
    hot = pd.DataFrame(np.loadtxt(folder / f"{name}_features.ascii"), columns=[line.strip() for line in names if line.strip()])
    kinds = dict.fromkeys(column.partition(":")[0] for column in hot)
    return pd.DataFrame({f"{name}_{kind}": hot.filter(regex=f"^{kind}:").idxmax(axis=1) for kind in kinds})


def on_coat(job: Job, parts: Parts) -> dict[str, np.ndarray]:
    """Rating and chance of a like on the random test; labels and persons."""
    name, way = job.arm.split(", ")
    weight = "weight" if way == "inverse propensity" else ""
    columns = dict.fromkeys((c for c in parts.train if c not in ("rating", "like", "weight")), "")
    test, labels = parts.test, {f"label/{name}": parts.test[name].to_numpy(float) for name in ("rating", "like")}
    labels["person"] = parts.test["person"].to_numpy()
    if name == "mean":
        weights = parts.train[weight] if weight else None
        means = {label: np.average(parts.train[label], weights=weights) for label in ("rating", "like")}
        return labels | {label: np.full(len(test), mean) for label, mean in means.items()}
    if name == "lightgbm":
        rating = trees(parts, columns, "rating", weight=weight)
        like = trees(parts, columns, "like", weight=weight, objective="binary")
        return labels | {"rating": rating(test), "like": like(test)}
    data = {"data": {"weight": weight}} if weight else {}
    training = {**TRAIN, "batch_size": 128, "epochs": 20, "seed": job.seed, **({"max_steps": 20} if job.quick else {})}
    scores = network(job, parts, columns, train=training, **data).predict(test[list(columns)])
    return labels | {label: scores[label].to_numpy(np.float64) for label in ("rating", "like")}
