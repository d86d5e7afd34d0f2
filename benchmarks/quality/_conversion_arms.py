"""One training of one way to treat unclicked rows, in a worker process: a simulated world in, errors against its truth out."""

import hashlib
import json
import math
import os
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import rankdata

from polytask.balancers import Equal
from polytask.batch import Batch, Features, Labels
from polytask.data.synthetic import EntireSpace, bayes_auc
from polytask.evaluate import predict_batches
from polytask.model import MultiTaskModel
from polytask.optimizers import build_optimizer
from polytask.tasks import Binary
from polytask.train import train_step

ROWS, EPOCHS, BATCH = 500_000, 3, 4096
HELD_OUT = 300_000
STARTS = {"train": 0, "valid": 20_000_000, "test": 40_000_000}
RATES = (3e-4, 1e-3, 3e-3, 1e-2)
EMBEDDING, HIDDEN, TOWER = 8, [32], [16]
SCALE = 0.01  # of the embeddings at first: most ids are seen a few times
CLIP = {"clip": 0.01}  # of propensities: the least that is usual, as four of five rows have one below .05
WORLD = {"num_users": 10_000, "num_items": 3_000}  # fewer conversions than items, as in the paper's log
COLUMNS = {"user_id": WORLD["num_users"], "user_segment": 20, "item_id": WORLD["num_items"], "item_category": 20}

APART = {"name": "single_task", "hidden": HIDDEN}
TABLE = {"name": "soft_sharing", "hidden": HIDDEN, "strength": 0.0}  # embeddings shared, networks apart: ESMM as it was published
BOTTOM = {"name": "shared_bottom", "hidden": HIDDEN}

ARMS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "BASE": (APART, {"name": "clicked"}),
    "AMAN": (APART, {"name": "unclicked_negative"}),
    "OVERSAMPLING": (APART, {"name": "oversample"}),
    "UNBIAS": (APART, {"name": "rejection", **CLIP}),
    "DIVISION": (APART, {"name": "division"}),
    "ESMM-NS": (APART, {"name": "entire_space"}),
    "ESMM": (TABLE, {"name": "entire_space"}),
    # What is not in the paper's table: controls of what is shared, and estimators after it.
    "ESMM, shared_bottom": (BOTTOM, {"name": "entire_space"}),
    "BASE, shared": (TABLE, {"name": "clicked"}),
    "ips": (TABLE, {"name": "ips", **CLIP}),
    "snips": (TABLE, {"name": "snips", **CLIP}),
    "dr": (TABLE, {"name": "dr", **CLIP}),
    "counterfactual": (TABLE, {"name": "counterfactual", **CLIP}),
}
"""Sharing and space by name."""
CTR, TRUTH = "CTR", "truth"
"""The common click net, and the row of the true probability."""


class Job(NamedTuple):
    """One training. It is kept under a key of all that decides it."""

    correlation: float
    arm: str
    lr: float
    seed: int
    folder: str
    quick: bool
    click_lr: float = 0.0
    """Rate of the common click net; 0 where the training is that net."""

    @property
    def rows(self) -> int:
        return ROWS // 4 if self.quick else ROWS

    @property
    def held_out(self) -> int:
        return HELD_OUT // 3 if self.quick else HELD_OUT

    @property
    def file(self) -> Path:
        sizes = [self.rows, EPOCHS, BATCH, self.held_out, STARTS, EMBEDDING, SCALE, HIDDEN, TOWER, WORLD]
        decides = [*sizes, ARMS.get(self.arm), self.lr, self.click_lr]
        key = hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:10]
        return Path(self.folder) / f"{self.correlation:g}" / f"{self.arm.replace(', ', '_')}-{key}-{self.seed}.json"

    @property
    def clicks(self) -> Path:
        """Click probabilities of the test rows, of the common net."""
        return self.file.with_suffix(".npy")


def read(job: Job) -> dict[str, float]:
    return json.loads(job.file.read_text())


def run(job: Job) -> Job:
    """Trains, unless its file is there."""
    if job.file.exists():
        return job
    torch.set_num_threads(1)
    started = time.process_time()
    world = EntireSpace(seed=job.seed, correlation=job.correlation, **WORLD)
    model = trained(job, world)
    valid, test = (Rows(world, STARTS[part], job.held_out) for part in ("valid", "test"))
    chance = {part: predicted(model, rows) for part, rows in (("valid", valid), ("test", test))}
    if job.arm == CTR:
        found = {"valid_auc": auc(chance["valid"]["click"], valid.of("drawn_click"))}
        found |= {f"{TRUTH}: {name}": value for name, value in judged(test, test.of("true_buy_given_click"), None).items()}
    else:
        clicked = valid.of("drawn_click") == 1
        found = {"valid_auc": auc(chance["valid"]["buy"][clicked], valid.of("drawn_buy")[clicked])}
        click = np.load(job._replace(arm=CTR, lr=job.click_lr, click_lr=0.0).clicks)
        found |= judged(test, chance["test"]["buy"], click)
    found["seconds"] = time.process_time() - started
    job.file.parent.mkdir(parents=True, exist_ok=True)
    if job.arm == CTR:
        np.save(job.clicks, chance["test"]["click"].astype(np.float32))
    scratch = job.file.with_suffix(f".{os.getpid()}.part")
    scratch.write_text(json.dumps(found))
    scratch.replace(job.file)
    return job


class Rows:
    """Consecutive rows of a world as tensors, with their truth."""

    def __init__(self, world: EntireSpace, start: int, rows: int) -> None:
        log, self.truth = world.table(start, start + rows), world.truth(start, start + rows)
        self.num_items = world.num_items
        self.features = torch.from_numpy(np.stack([log[name].to_numpy() for name in COLUMNS], axis=1))
        self.item = log["item_id"].to_numpy()
        self.click = torch.from_numpy(log["click"].to_numpy().astype(np.float32))
        self.buy = torch.from_numpy(log["buy"].to_numpy().astype(np.float32))  # NaN where there was no click

    def of(self, name: str) -> np.ndarray:
        return self.truth[name].to_numpy().astype(np.float64)

    def batch(self, rows: torch.Tensor | slice) -> Batch:
        click = self.click[rows]
        labels = {"click": Labels(click, torch.ones_like(click, dtype=torch.bool), len(click)), "buy": Labels.of(self.buy[rows])}
        return Batch(Features(self.features[rows], torch.zeros(len(click), 0)), labels)


def trained(job: Job, world: EntireSpace) -> MultiTaskModel:
    """A model after `EPOCHS` passes, its rate falling as a cosine."""
    rows = Rows(world, STARTS["train"], job.rows)
    click = Binary("click", base_rate=float(rows.click.mean()))
    tasks = [click] if job.arm == CTR else [click, Binary("buy", given="click", base_rate=float(rows.buy.nanmean()))]
    sharing, space = (APART, {"name": "clicked"}) if job.arm == CTR else ARMS[job.arm]
    columns = SimpleNamespace(
        categorical=[SimpleNamespace(name=name, size=size) for name, size in COLUMNS.items()], numeric=[], multi_valued=[]
    )
    torch.manual_seed(job.seed)
    encoder = {"name": "tabular", "embedding_dim": EMBEDDING, "embedding_scale": SCALE}
    built = {"sharing": sharing, "heads": {"hidden": TOWER}, "space": space}
    model = MultiTaskModel.build(columns, tasks, encoder=encoder, **built)
    balancer = Equal([task.name for task in model.tasks])
    optimizer = build_optimizer(model, balancer, lr=job.lr)
    order = torch.Generator().manual_seed(job.seed)
    batches = [part for _ in range(EPOCHS) for part in torch.randperm(job.rows, generator=order).split(BATCH)]
    for number, part in enumerate(batches):
        for group in optimizer.param_groups:
            group["lr"] = job.lr * (1 + math.cos(math.pi * number / len(batches))) / 2
        train_step(model, balancer, optimizer, rows.batch(part))
    return model


def predicted(model: MultiTaskModel, rows: Rows) -> dict[str, np.ndarray]:
    """Probabilities by task, row for row."""
    step = 65_536
    loader = [rows.batch(slice(start, start + step)) for start in range(0, len(rows.click), step)]
    parts = list(predict_batches(model, loader))
    return {name: np.concatenate([part[name] for part in parts]).astype(np.float64) for name in parts[0]}


def judged(rows: Rows, chance: np.ndarray, click: np.ndarray | None) -> dict[str, float]:
    """What estimates of p(buy | click) are worth on test rows, whose every purchase and probability is known.

    Args:
        rows: Test rows.
        chance: Estimates; what is above 1 counts as nearly 1 in a logarithm, and as it is elsewhere.
        click: Estimates of p(click) by the common net; the truth where None.
    """
    click = rows.of("true_click") if click is None else click
    true, drawn, clicked = rows.of("true_buy_given_click"), rows.of("drawn_buy"), rows.of("drawn_click") == 1
    rarely = click <= np.quantile(click, 0.1)
    inside = np.clip(chance, 1e-7, 1 - 1e-7)
    return {
        "cvr_auc_clicked": auc(chance[clicked], drawn[clicked]),
        "ctcvr_auc": auc(click * chance, drawn * clicked),
        "cvr_auc_all": auc(chance, drawn),
        "log_loss_all": float(-np.mean(np.where(drawn == 1, np.log(inside), np.log1p(-inside)))),
        "rank_correlation": float(np.corrcoef(rankdata(chance), rankdata(true))[0, 1]),
        "calibration_all": float(chance.mean() / true.mean()),
        "calibration_clicked": float(chance[clicked].mean() / true[clicked].mean()),
        "calibration_rarely": float(chance[rarely].mean() / true[rarely].mean()),
        "above_one": float((chance > 1).mean()),
        "greatest": float(chance.max()),
        "ugly_rank": ugly_rank(rows, chance),
        "best_auc_all": bayes_auc(true),
    }


def ugly_rank(rows: Rows, chance: np.ndarray) -> float:
    """Mean rank of the items with an ugly picture by their mean estimate: 1 is the most bought item, 0 the least."""
    count = np.bincount(rows.item, minlength=rows.num_items)
    mean = np.bincount(rows.item, chance, minlength=rows.num_items)[count > 0] / count[count > 0]
    ugly = np.bincount(rows.item, rows.of("ugly_picture"), minlength=rows.num_items)[count > 0] > 0
    return float(((rankdata(mean) - 1) / (len(mean) - 1))[ugly].mean())


def auc(score: np.ndarray, label: np.ndarray) -> float:
    positive = label == 1
    ranks, number = rankdata(score), positive.sum()
    return float((ranks[positive].sum() - number * (number + 1) / 2) / (number * (~positive).sum()))
