"""One training of the position-bias benchmark: a world, a remedy, a loop of rounds or one long log."""

import hashlib
import json
import time
from pathlib import Path
from types import MethodType
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import torch
from scipy.stats import spearmanr

from polytask.balancers import Equal
from polytask.biases import Corrected, Seen, ShallowTower, estimate_examination
from polytask.data import Categorical, Columns, Numeric, Preprocessing, Schema, open_table
from polytask.data.synthetic import Positions, closed_loop
from polytask.files import replacing
from polytask.model import MultiTaskModel
from polytask.optimizers import build_optimizer
from polytask.tasks import Binary
from polytask.train import train_step

COLUMNS = ("position", "device")
DEVICES = ("phone", "tablet", "desktop")
SHARE = np.array([0.6, 0.1, 0.3])
"""Of the devices in the world's sessions, in the order of its examination curve."""
NUMERIC = ("match", "freshness", "price", "fame")
IDS = ("query_id", "item_id", "item_category")
BATCH, LR, EMBEDDING, HIDDEN = 1024, 3e-3, 8, (64, 32)
FIRST = {"rows": 100_000, "epochs": 4, "rounds": 0, "kept": 1}
LOOP = {"rows": 40_000, "epochs": 2, "rounds": 5, "kept": 6}
FORGETFUL = {"rows": 50_000, "epochs": 4, "rounds": 5, "kept": 1}
"""A loop that keeps the newest log alone."""
LONG = {"rows": 1_000_000, "epochs": 1}
QUICK = {"rows": 20_000, "epochs": 1, "rounds": 1}
RANDOM = 0.05
"""Share of sessions in random order in the worlds of the arm that needs them: in every round of its loop too."""

TOWER = {"name": "shallow_tower", "columns": COLUMNS, "tasks": ["click"]}
PROPENSITY = TOWER | {"name": "inverse_propensity"}
FEATURE = TOWER | {"name": "position_feature"}
ARMS: dict[str, dict[str, Any] | None] = {
    "no correction": None,
    "feature, missing when served": FEATURE,
    "feature, first position when served": FEATURE | {"served": {"position": 1}, "dropout": 0.0},
    "adversary": TOWER | {"name": "position_adversary"},
    "shallow tower, logit": TOWER,
    "shallow tower, product": TOWER | {"link": "product"},
    "inverse propensity, EM": PROPENSITY | {"same": ["query_id", "item_id"]},
    "inverse propensity, random": PROPENSITY | {"random": "randomised"},
    "shallow tower, logit, no drop-out": TOWER | {"dropout": 0.0},
    "shallow tower, product, no drop-out": TOWER | {"link": "product", "dropout": 0.0},
    "shallow tower, product, as published": TOWER | {"link": "product"},
}
ONCE = ("inverse propensity, random", *(arm for arm in ARMS if "no drop-out" in arm or "as published" in arm))
"""Arms that are trained on the first log only."""
CURVES = ("shallow tower, logit", "shallow tower, product", "EM", "random rows")


class Job(NamedTuple):
    """One training, or one loop. It is kept under a key of all that decides it."""

    what: str
    arm: str
    seed: int
    folder: str
    quick: bool

    @property
    def sizes(self) -> dict[str, int]:
        sizes = dict({"first": FIRST, "loop": LOOP, "forgetful": FORGETFUL, "curve": LONG}[self.what])
        if self.quick:
            sizes |= {name: QUICK[name] for name in sizes if name in QUICK}
        return sizes

    @property
    def file(self) -> Path:
        decides = [self.sizes, ARMS.get(self.arm), BATCH, LR, EMBEDDING, HIDDEN, RANDOM]
        key = hashlib.sha256(json.dumps(decides).encode()).hexdigest()[:10]
        return Path(self.folder) / self.what / f"{self.arm.replace(', ', '_').replace(' ', '-')}-{key}-{self.seed}.json"

    @property
    def world(self) -> Positions:
        random = {"inverse propensity, random": RANDOM, "random rows": 2 * RANDOM}.get(self.arm, 0.0)
        return Positions(seed=self.seed, randomised=random)


def read(job: Job) -> dict[str, Any]:
    return json.loads(job.file.read_text())


def run(job: Job) -> Job:
    """Trains, unless its file is there."""
    if job.file.exists():
        return job
    torch.set_num_threads(1)
    started = time.process_time()
    found = curve(job) if job.what == "curve" else looped(job)
    found["seconds"] = time.process_time() - started
    job.file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(job.file) as scratch:
        scratch.write_text(json.dumps(found))
    return job


def looped(job: Job) -> dict[str, Any]:
    """Rank correlation and NDCG of the first model, its calibration on the log it learnt from, and NDCG of every round."""
    world, sizes, first = job.world, job.sizes, []

    def train(log: pa.Table) -> Any:
        fitted = Model(log, job.arm, job.seed, sizes["epochs"])
        if not first:
            first.append(fitted.served(log).mean() / log["click"].to_numpy().mean())
        return fitted.served

    rounds = closed_loop(world, train, rows=sizes["rows"], rounds=sizes["rounds"], kept=sizes["kept"])
    return {
        "spearman": float(spearmanr(rounds[0].scores.ravel(), world.relevance.ravel()).statistic),
        "ndcg": [found.ndcg for found in rounds],
        "click_rate": [found.click_rate for found in rounds],
        "calibration": float(first[0]),
    }


def curve(job: Job) -> dict[str, Any]:
    """Recovered examination by device and position, from one long log."""
    world, rows = job.world, job.sizes["rows"]
    log = world.table(0, rows)
    if job.arm in ("EM", "random rows"):
        how: Any = {"same": ("query_id", "item_id")} if job.arm == "EM" else {"random": "randomised"}
        return {"curve": ordered(estimate_examination(log, click="click", columns=COLUMNS, **how).to_pylist())}
    fitted = Model(log, job.arm, job.seed, job.sizes["epochs"])
    with torch.inference_mode():
        parts = [fitted.model(batch.features).by_task["click"] for batch in fitted.batches(log)]
    whole = fitted.preprocessing.encode(log.combine_chunks().to_batches()[0]).to_batch(fitted.preprocessing.tasks)
    seen = Seen(whole.features, {"click": torch.cat(parts)}, whole.labels)
    bias = fitted.model.bias
    assert bias is not None
    return {"curve": ordered(bias.curve(seen)), "as_learnt": ordered(bias.curve())}


def ordered(lines: list[dict[str, Any]]) -> list[list[float]]:
    found = {(line["device"], line["position"]): line["examination"] for line in lines}
    return [[found[device, position] for position in range(1, 11)] for device in DEVICES]


def errors(curve: list[list[float]], world: Positions) -> dict[str, float]:
    """Greatest relative error over positions: of the mean over devices, and of the worst device; and steps that rise."""
    found, true = np.array(curve), world.examination_curve
    pooled = SHARE @ found
    return {
        "error": float(np.abs(pooled / (SHARE @ true) - 1).max()),
        "by_device": float(np.abs(found / true - 1).max()),
        "rising": float((np.diff(pooled) >= 0).sum()),
    }


def floor(world: Positions, rows: int) -> dict[str, float]:
    """Errors of who knows the relevance of every row: what chance alone leaves."""
    log, relevance = world.table(0, rows), world.truth(0, rows)["true_relevance"].to_numpy()
    cell = np.searchsorted(np.sort(DEVICES), log["device"].to_numpy().astype(str)) * 10 + log["position"].to_numpy() - 1
    rate = (np.bincount(cell, log["click"].to_numpy()) / np.bincount(cell, relevance)).reshape(3, 10)
    rate = rate[np.argsort(np.argsort(DEVICES))]
    return errors((rate / rate[:, :1]).tolist(), world)


class Model:
    """A network trained on a log: the same for every arm but for the remedy."""

    def __init__(self, log: pa.Table, arm: str, seed: int, epochs: int) -> None:
        remedy = ARMS[arm]
        names = IDS if remedy is None else (*IDS, *COLUMNS, *(["randomised"] if "random" in remedy else []))
        schema = Schema((*(Categorical(name) for name in names), *(Numeric(name) for name in NUMERIC)))
        self.preprocessing = Preprocessing.fit(open_table(log), schema, [Binary("click")])
        rows = self.preprocessing.encode(log.combine_chunks().to_batches()[0])
        torch.manual_seed(seed)
        self.model = MultiTaskModel.build(
            self.preprocessing,
            self.preprocessing.tasks,
            encoder={"name": "tabular", "embedding_dim": EMBEDDING, "numeric_dim": EMBEDDING},
            sharing={"name": "shared_bottom", "hidden": HIDDEN},
            bias=remedy,
        )
        if self.model.bias is not None:
            self.model.bias.fit([rows.to_batch(self.preprocessing.tasks)])
        if arm.endswith("as published"):
            self.model.bias.correct = MethodType(published, self.model.bias)  # type: ignore[union-attr, method-assign]
        self._fit(rows, seed, epochs)

    def _fit(self, rows: Columns, seed: int, epochs: int) -> None:
        balancer = Equal(["click"])
        optimizer = build_optimizer(self.model, balancer, lr=LR)
        rng, steps = np.random.default_rng(seed), epochs * (rows.num_rows // BATCH)
        order = np.concatenate([rng.permutation(rows.num_rows)[: rows.num_rows // BATCH * BATCH] for _ in range(epochs)])
        self.model.train()
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = LR * (1 - step / steps)
            batch = rows.take(order[step * BATCH : (step + 1) * BATCH]).to_batch(self.preprocessing.tasks)
            train_step(self.model, balancer, optimizer, batch)
        self.model.eval()

    def batches(self, table: pa.Table) -> Any:
        """Rows of a table in pieces; columns that it lacks are missing."""
        for name in self.preprocessing.columns(labels=False):
            if name not in table.column_names:
                table = table.append_column(name, pa.nulls(table.num_rows))
        for piece in table.combine_chunks().to_batches(max_chunksize=16_384):
            yield self.preprocessing.encode(piece, labels=False).to_batch(())

    @torch.inference_mode()
    def served(self, table: pa.Table) -> np.ndarray:
        """Probability of a click, as it would be served."""
        parts = [self.model.predict(batch.features)["click"] for batch in self.batches(table)]
        return torch.cat(parts).double().numpy()


def published(tower: ShallowTower, by_task: Any, shown: Any, shared: Any) -> Corrected:
    """Rows whose columns are dropped teach the model too, as in the paper."""
    del shared
    cell = tower.cells(shown)
    cell = torch.where(torch.rand(len(cell)) < tower.dropout, 0, cell)
    bias = tower.logits("click").flatten()[cell]
    return Corrected(dict(by_task) | {"click": tower.linked(by_task["click"], bias)})
