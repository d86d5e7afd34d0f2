"""Trains a small model in child processes that are killed at random moments until one ends: `killed_run.py FOLDER SEED`.

Children are forks: the price of a kill is that of a fork, not of an import. Prints what happened as JSON.
"""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import numpy as np
import torch

from polytask.balancers import Uncertainty
from polytask.data import Columns, EncodedRows, Loader
from polytask.data.packed import Layout
from polytask.encoders import EmbeddingTable
from polytask.heads import Heads
from polytask.model import MultiTaskModel
from polytask.optimizers import Schedule, build_optimizer
from polytask.sharing import MMoE
from polytask.tasks import Binary, Regression
from polytask.train import Plan, Trainer

TASKS = (Binary("click"), Regression("time", given="click"))
EPOCHS, ROWS, BATCH = 3, 330, 16


class Encoder(torch.nn.Module):
    """A table with touched-row gradients, numbers, and dropout."""

    out_features = 11

    def __init__(self):
        super().__init__()
        self.table, self.dropout = EmbeddingTable([50, 7], 4), torch.nn.Dropout(0.3)

    def forward(self, features):
        return self.dropout(torch.cat([self.table(features.categorical).flatten(1), features.numeric], 1))


def data():
    random_numbers = np.random.default_rng(0)
    x = random_numbers.normal(size=(ROWS, 3)).astype(np.float32)
    ids = np.stack([random_numbers.integers(0, 50, ROWS), random_numbers.integers(0, 7, ROWS)], 1).astype(np.int32)
    click = (x[:, 0] + 0.1 * ids[:, 1] > 0.3).astype(np.float32)
    time_ = (x[:, 1] + 0.01 * ids[:, 0]).astype(np.float32)
    time_[random_numbers.random(ROWS) < 0.3] = np.nan
    layout = Layout((50, 7), 3, ("click", "time"))
    return EncodedRows.in_memory(layout.pack(Columns(ids, x, {}, {"click": click, "time": time_})))


def fit(rows, directory):
    torch.manual_seed(11)
    np.random.seed(11)  # noqa: NPY002 - the global generator is part of the state
    random.seed(11)
    sharing = MMoE(11, ["click", "time"], num_experts=3, hidden=(8,), dropout=0.2, expert_dropout=0.2)
    model = MultiTaskModel([Encoder()], sharing, Heads(8, TASKS, hidden=(6,), dropout=0.1))
    balancer = Uncertainty(["click", "time"])
    optimizer = build_optimizer(model, balancer, lr=1e-2)
    schedule = Schedule(optimizer, total_steps=EPOCHS * 11, warmup_steps=5)
    often = {"log_every": 4, "validate_every": 5, "checkpoint_every": 3}
    plan = Plan(epochs=EPOCHS, device="cpu", accumulate=2, clip=1.0, average=0.9, **often)
    train = Loader(rows, TASKS, batch_size=BATCH, seed=3)
    valid = Loader(rows, TASKS, batch_size=100, shuffle=False)
    Trainer(model, balancer, optimizer, plan=plan, schedule=schedule).fit(train, valid, directory=directory)


def child(rows, directory):
    """Process number of a fork that trains and exits."""
    process = os.fork()
    if process:
        return process
    try:
        fit(rows, directory)
    except BaseException as error:  # noqa: BLE001 - a fork must not go on with its parent's work
        sys.stderr.write(f"{error!r}\n")
        os._exit(1)
    os._exit(0)


def killed_or_done(process, seconds):
    """Whether a fork ended by itself within some seconds; else it is killed."""
    deadline = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(process, os.WNOHANG)
        if not found and time.monotonic() > deadline:
            os.kill(process, signal.SIGKILL)
            found, status = os.waitpid(process, 0)
        if found:
            code = os.waitstatus_to_exitcode(status)
            assert code in {0, -signal.SIGKILL}, code
            return code == 0
        time.sleep(0.001)


def main(folder, seed):
    torch.set_num_threads(1)
    rows = data()
    fit(rows, folder / "warm")  # what is imported at the first step is imported once
    start = time.monotonic()
    process = child(rows, folder / "straight")
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    whole = time.monotonic() - start
    moments, kills, positions = random.Random(seed), 0, []
    for directory in (folder / f"killed-{number}" for number in range(4)):
        patience = 0.2 * whole  # grows, so that every run ends, however busy the machine becomes
        while not killed_or_done(child(rows, directory), moments.uniform(0.0, patience)):
            kills, patience = kills + 1, 1.15 * patience
            log = directory / "metrics.jsonl"
            positions.append(log.read_bytes().count(b"\n") if log.exists() else 0)
    json.dump({"kills": kills, "seconds": whole, "records_at_kill": positions}, sys.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
