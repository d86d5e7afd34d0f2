"""One training of one architecture on one set of data, in a worker process: options in, predictions of the test rows out."""

import dataclasses
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from _equal_size import equal_size
from torch import nn

import polytask
from polytask.data.catalog import Adult, CensusIncome, Dataset, Sarcos, Tox21
from polytask.data.synthetic import CorrelatedRegression
from polytask.heads import Heads
from polytask.sharing import SHARINGS
from polytask.tasks import Binary, Regression
from polytask.train._malloc import keep_freed_memory

EMBEDDING, BINS, TOWER = 8, 128, [32]
GRID = tuple({"lr": lr, "dropout": dropout} for lr, dropout in ((2e-3, 0.2), (2e-3, 0.5), (6e-3, 0.5), (6e-3, 0.2)))
LARGE_GRID = (GRID[0], *GRID[2:], GRID[1])  # large batches want the higher rate tried early
RATES = tuple({"lr": lr} for lr in (1e-3, 3e-3, 1e-2, 3e-2))
HELD_OUT = 40_960  # test rows of the synthetic set, and as many that choose the setting
TREES = {"n_estimators": 3000, "learning_rate": 0.05, "num_leaves": 31, "subsample": 0.8, "subsample_freq": 1}


class Work(NamedTuple):
    """What is trained on.

    Args:
        data: A data set of the catalog, or the generator of one.
        parameters: Of sharing and heads.
        settings: What every architecture tries, in this order.
        batch: Rows of a batch.
        epochs: Passes over the training rows.
        tasks: Names of the tasks that take part; all where empty.
        tuned_on: Whose choice of the setting holds; itself where empty.
        embedding: Width of each column's representation.
    """

    data: Dataset | CorrelatedRegression
    parameters: int
    settings: tuple[dict[str, float], ...]
    batch: int
    epochs: int
    tasks: tuple[str, ...] = ()
    tuned_on: str = ""
    embedding: int = EMBEDDING


CORRELATIONS = (0.0, 0.25, 0.5, 0.75, 1.0)
PLE_ROWS, PLE_TUNED = 1_400_000, "ple-0.5"
WORKS: dict[str, Work] = {
    "census1": Work(CensusIncome(group=1), 100_000, LARGE_GRID, 2048, 4),
    "census2": Work(CensusIncome(group=2), 100_000, LARGE_GRID, 2048, 4),
    "adult": Work(Adult(), 50_000, GRID, 512, 15, ("income", "never_married", "bachelor")),
    "sarcos": Work(Sarcos(), 50_000, tuple({**rate, "dropout": 0.0} for rate in RATES), 64, 80),
    # For balancers: as many trainings again, so shorter ones.
    "sarcos_short": Work(Sarcos(), 50_000, tuple({**rate, "dropout": 0.0} for rate in RATES), 128, 50),
    "census_short": Work(CensusIncome(group=1), 50_000, tuple({**rate, "dropout": 0.2} for rate in RATES), 2048, 3),
    "tox21": Work(Tox21(), 50_000, tuple({**rate, "dropout": 0.5} for rate in RATES), 256, 20, embedding=128),
    **{
        f"ple-{p:g}": Work(CorrelatedRegression(recipe="ple2020", correlation=p), 100_000, RATES, 1024, 1, tuned_on=PLE_TUNED)
        for p in CORRELATIONS
    },
}


class Job(NamedTuple):
    """One training. It is kept under a key of all that decides it, so that an interrupted benchmark goes on where it was."""

    work: str
    arm: str
    setting: int
    seed: int
    source: str
    folder: str
    tiny: bool
    balancer: str = ""
    """A table of the balancer's options as JSON; the plain sum where empty."""

    @property
    def file(self) -> Path:
        work = WORKS[self.work]
        decides = [
            work.parameters,
            work.settings[self.setting],
            work.batch,
            work.epochs,
            work.tasks,
            EMBEDDING,
            BINS,
            TOWER,
            self.tiny,
        ]
        decides += [dataclasses.asdict(work.data), PLE_ROWS]
        decides += [work.embedding, self.balancer] if self.balancer else []
        key = hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:10]
        return Path(self.folder) / self.work / f"{self.arm}-{key}-{self.seed}.npz"


class Result(NamedTuple):
    """Predictions `n k` of the rows that choose and of the test rows, the labels beside them, and what it took."""

    valid: np.ndarray
    test: np.ndarray
    valid_labels: np.ndarray
    labels: np.ndarray
    about: dict[str, Any]


def run(job: Job) -> Job:
    """Trains, unless its file is there."""
    if not job.file.exists():
        torch.set_num_threads(1)
        keep_freed_memory()
        started = time.process_time()
        work = WORKS[job.work]
        train = streamed if isinstance(work.data, CorrelatedRegression) else boosted if job.arm == "lightgbm" else tabled
        result = train(job, work)
        about = {**result.about, "seconds": time.process_time() - started}
        job.file.parent.mkdir(parents=True, exist_ok=True)
        scratch = job.file.with_suffix(f".{os.getpid()}.part.npz")
        np.savez(scratch, about=json.dumps(about), **{key: getattr(result, key) for key in Result._fields[:4]})
        scratch.replace(job.file)
    return job


def read(job: Job) -> Result:
    with np.load(job.file) as stored:
        return Result(*(stored[key] for key in Result._fields[:4]), json.loads(str(stored["about"])))


# --- tables


def prepared(job: Job) -> tuple[dict[str, Path], list[dict], list]:
    """Files of the parts, declared features and tasks."""
    data, folder = WORKS[job.work].data, Path(job.folder) / "data" / job.work
    if not (folder / "run.toml").exists():  # written last
        data.prepare(job.source, folder)
    wanted = WORKS[job.work].tasks
    kinds = {"binary": Binary, "regression": Regression}
    tasks = [kinds[task["kind"]](task["name"]) for task in data.tasks if not wanted or task["name"] in wanted]
    features = [{**f, **({"bins": BINS} if f["kind"] == "numeric" else {})} for f in data.features]
    return {part: folder / f"{part}.parquet" for part in ("train", "valid", "test")}, features, tasks


def labels(path: Path, tasks: list) -> np.ndarray:
    import pyarrow.parquet as pq

    table = pq.read_table(path, columns=[task.name for task in tasks])
    return np.stack([table[task.name].to_numpy() for task in tasks], axis=1).astype(np.float64)


def tabled(job: Job, work: Work) -> Result:
    """A network by `polytask.fit`; weights of the epoch that is best on the validation rows."""
    files, features, tasks = prepared(job)
    setting = work.settings[job.setting]
    heads = {"hidden": TOWER}
    options, _ = equal_size(job.arm, work.embedding * len(features), tasks, heads, work.parameters)
    plan = {"epochs": work.epochs, "batch_size": work.batch, "precision": "auto", "seed": job.seed}
    fitted = polytask.fit(
        str(files["train"]),
        tasks,
        valid=str(files["valid"]),
        data={"cache": str(Path(job.folder) / "encoded")},
        encoder={"name": "tabular", "embedding_dim": work.embedding, "numeric_dim": work.embedding},
        sharing={"name": job.arm, **options, "dropout": setting["dropout"]},
        heads=heads,
        balancer=json.loads(job.balancer or '{"name": "equal"}'),
        feature=features,
        features={"include": [feature["name"] for feature in features]},
        train={**plan, "device": "cpu", **({"max_steps": 20} if job.tiny else {})},
        optimizer={"lr": setting["lr"], "weight_decay": 0.1},
        schedule={"kind": "cosine", "warmup_steps": 10 if job.tiny else 100},
    )
    assert fitted.model.sharing.in_features == work.embedding * len(features)
    trained = [p for part in (fitted.model.sharing, fitted.model.heads) for p in part.parameters() if p.requires_grad]
    about = {"parameters": sum(p.numel() for p in trained), "options": options}
    predicted = {part: fitted.predict(str(files[part])) for part in ("valid", "test")}
    valid, test = (np.stack([predicted[part][task.name].to_numpy() for task in tasks], axis=1) for part in ("valid", "test"))
    return Result(valid, test, labels(files["valid"], tasks), labels(files["test"], tasks), about)


def boosted(job: Job, work: Work) -> Result:  # noqa: ARG001 - every arm is called alike
    """One LightGBM a task, stopped on the validation rows; untuned, so its settings are all the same."""
    import lightgbm
    import pandas as pd

    files, features, tasks = prepared(job)
    parts = {part: pd.read_parquet(path) for part, path in files.items()}
    names = [feature["name"] for feature in features]
    kinds = {
        f["name"]: pd.CategoricalDtype(parts["train"][f["name"]].dropna().unique())
        for f in features
        if f["kind"] == "categorical"
    }
    coded = {part: frame[names].astype(kinds) for part, frame in parts.items()}
    found: dict[str, list] = {"valid": [], "test": []}
    for task in tasks:
        kind = lightgbm.LGBMClassifier if isinstance(task, Binary) else lightgbm.LGBMRegressor
        options = {**TREES, "colsample_bytree": 0.8, "random_state": job.seed, **({"n_estimators": 20} if job.tiny else {})}
        stop = lightgbm.early_stopping(100, verbose=False)
        judge = {"eval_X": coded["valid"], "eval_y": parts["valid"][task.name]}
        judge["eval_metric"] = "auc" if isinstance(task, Binary) else "l2"
        model = kind(**options, n_jobs=1, verbose=-1).fit(coded["train"], parts["train"][task.name], **judge, callbacks=[stop])
        for part, columns in found.items():
            score = model.predict_proba(coded[part])[:, 1] if isinstance(task, Binary) else model.predict(coded[part])
            columns.append(score)
    valid, test = (np.stack(found[part], axis=1) for part in ("valid", "test"))
    return Result(valid, test, labels(files["valid"], tasks), labels(files["test"], tasks), {})


# --- the synthetic set: rows are made as they are needed, none is seen twice


def streamed(job: Job, work: Work) -> Result:
    """Sharing and heads on the 512 numbers themselves; labels over their standard deviation, so a constant has an MSE of 1."""
    data = dataclasses.replace(work.data, seed=job.seed)
    num_rows, held_out = (20 * work.batch, 4096) if job.tiny else (PLE_ROWS, HELD_OUT)
    tasks = [Regression("y_1"), Regression("y_2")]
    heads = {"hidden": [16]}
    width = data.weights.shape[1]
    options, reached = equal_size(job.arm, width, tasks, heads, work.parameters)
    torch.manual_seed(job.seed)
    sharing = SHARINGS[job.arm](width, ["y_1", "y_2"], **options)
    model = nn.ModuleList([sharing, Heads(sharing.out_features, tasks, **heads)])
    optimizer = torch.optim.Adam(model.parameters(), lr=work.settings[job.setting]["lr"], fused=True)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, -(-num_rows // work.batch))
    for x, y in batches(data, 0, num_rows, work.batch):
        shared, outputs = outputs_of(model, x)
        losses = (outputs - y).square().mean(0).sum() / 2
        optimizer.zero_grad()
        (losses if shared.penalty is None else losses + shared.penalty).backward()
        optimizer.step()
        sharing.after_step(optimizer.param_groups[0]["lr"])
        schedule.step()
    valid, test = (predicted(model.eval(), data, start, held_out) for start in (2_000_000 // 4096 * 4096, 4_096_000))
    return Result(valid[0], test[0], valid[1], test[1], {"parameters": reached, "options": options})


def batches(data: CorrelatedRegression, start: int, rows: int, size: int):
    scale = data.label_variance**0.5
    for begin in range(start, start + rows, 16 * size):
        x, y = (torch.from_numpy(part.astype(np.float32)) for part in data.arrays(begin, min(begin + 16 * size, start + rows)))
        yield from zip(x.split(size), (y / scale).split(size), strict=True)


def outputs_of(model: nn.ModuleList, x: torch.Tensor):
    sharing, heads = model
    shared = sharing(x if sharing.num_inputs == 1 else x.expand(sharing.num_inputs, *x.shape))
    return shared, torch.cat(list(heads(shared.outputs).values()), dim=1)


def predicted(model: nn.ModuleList, data: CorrelatedRegression, start: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    parts = []
    with torch.inference_mode():
        for x, y in batches(data, start, rows, 4096):
            parts.append((outputs_of(model, x)[1].numpy(), y.numpy()))
    return np.concatenate([p for p, _ in parts]), np.concatenate([y for _, y in parts])
