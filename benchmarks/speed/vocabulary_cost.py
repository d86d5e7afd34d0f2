"""What one training step costs with 1,000 to 10,000,000 rows in the embedding table.

Two models (a large and a small MMoE), three ways of drawing ids:

- `fixed`: each batch touches 1,000 rows, new ones in every batch, wherever they lie. What is left is the cost of the size alone.
- `zipf`: ids fall off as 1 / rank, as in real tables.
- `uniform`: every row is equally likely. In the largest table nearly every id of a batch is a row of its own, fetched from
  memory and updated; in the smallest a batch has 1,000 different ones. This is the worst case.

All vocabularies take turns, step by step, in one process and one thread; the figure is the median CPU time of a step.

    python benchmarks/speed/vocabulary_cost.py [--steps 15] [--precision medium]
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path
from types import SimpleNamespace

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from _record import record, row

from polytask.balancers import BALANCERS
from polytask.batch import Batch, Features, Labels
from polytask.encoders import Tabular
from polytask.heads import Heads
from polytask.model import MultiTaskModel
from polytask.optimizers import build_optimizer
from polytask.sharing import MMoE
from polytask.tasks import Binary
from polytask.train import train_step

FIELDS = 40
NUMERIC = 7
VOCABULARIES = (10**3, 10**4, 10**5, 10**6, 10**7)
BATCHES = 12  # different ones, so that no cache holds the rows of all
MODELS = {
    "MMoE 8 x 256-128, batch 4096, dim 16": {"num_experts": 8, "hidden": (256, 128), "rows": 4096, "dim": 16, "tower": (64,)},
    "MMoE 4 x 64, batch 1024, dim 8": {"num_experts": 4, "hidden": (64,), "rows": 1024, "dim": 8, "tower": ()},
}


def ids_of(kind, rows, size, generator):
    if kind == "uniform":
        return torch.randint(0, size, (rows, FIELDS), generator=generator, dtype=torch.int32)
    if kind == "zipf":  # density 1 / rank, and ranks scattered over the table as ids of a dictionary are not: the harder case
        rank = torch.exp(torch.rand(rows, FIELDS, generator=generator, dtype=torch.float64) * torch.log(torch.tensor(size + 1.0)))
        return ((rank.long().clamp(1, size) - 1) * 7_368_787 % size).int()
    parts = 1000 // FIELDS  # one row from each of so many equal parts of every field: all different
    touched = ((torch.arange(parts)[:, None] + torch.rand(parts, FIELDS, generator=generator)) * (size / parts)).int()
    return touched.gather(0, torch.randint(0, parts, (rows, FIELDS), generator=generator))


def batches_of(kind, rows, size):
    generator = torch.Generator().manual_seed(size)
    made = []
    for _ in range(BATCHES):
        numeric = torch.randn(rows, NUMERIC, generator=generator)
        labels = {name: Labels.of((torch.rand(rows, generator=generator) < 0.3).float()) for name in ("a", "b")}
        made.append(Batch(Features(ids_of(kind, rows, size, generator), numeric), labels))
    return made


def build(shape, size):
    torch.manual_seed(0)
    columns = SimpleNamespace(
        categorical=tuple(SimpleNamespace(name=f"field {j}", size=size) for j in range(FIELDS)),
        numeric=tuple(SimpleNamespace(name=f"number {j}", edges=()) for j in range(NUMERIC)),
        multi_valued=(),
    )
    encoder = Tabular(columns, embedding_dim=shape["dim"], numeric="linear", numeric_dim=1)
    sharing = MMoE(encoder.out_features, ["a", "b"], num_experts=shape["num_experts"], hidden=shape["hidden"])
    model = MultiTaskModel([encoder], sharing, Heads(sharing.out_features, [Binary("a"), Binary("b")], hidden=shape["tower"]))
    balancer = BALANCERS["equal"](["a", "b"])
    return model, balancer, build_optimizer(model, balancer)


def measure(shape, kind, options):
    runs = {}
    for vocabulary in VOCABULARIES:
        runs[vocabulary] = (*build(shape, vocabulary // FIELDS), batches_of(kind, shape["rows"], vocabulary // FIELDS))
    times = {vocabulary: [] for vocabulary in VOCABULARIES}
    for step in range(3 + options.steps):
        for vocabulary, (model, balancer, optimizer, batches) in runs.items():
            start = time.thread_time()
            train_step(model, balancer, optimizer, batches[step % BATCHES], precision=options.precision)
            times[vocabulary].append(time.thread_time() - start)
    touched = {
        vocabulary: statistics.mean(
            (batch.features.categorical + torch.arange(FIELDS) * 10**6).unique().numel() for batch in run[3]
        )
        for vocabulary, run in runs.items()
    }
    return {v: (1e3 * statistics.median(found[3:]), touched[v]) for v, found in times.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=15)
    parser.add_argument("--only", default="", help="models whose name holds this")
    parser.add_argument("--precision", default="medium")
    options = parser.parse_args()
    torch.set_num_threads(1)
    rows = []
    for name, shape in MODELS.items():
        if options.only not in name:
            continue
        for kind in ("fixed", "zipf", "uniform"):
            found = measure(shape, kind, options)
            base = found[VOCABULARIES[0]][0]
            for vocabulary, (milliseconds, num_touched) in found.items():
                what = f"{name}, {kind} ids, {vocabulary:,} rows"
                note = f"{round(num_touched):,} rows touched"
                rows.append(row(what, round(milliseconds, 2), "ms a step", note=note))
                if vocabulary > VOCABULARIES[0]:
                    rows.append(row(what, round(milliseconds / base, 3), "x", against="1,000 rows", note=note))
                print(what, f"{milliseconds:.2f} ms, {milliseconds / base:.3f} x, {note}", flush=True)
    title = "Cost of a training step against the size of the vocabulary"
    caveat = f"CPU time of one thread, median of {options.steps} steps, precision {options.precision}."
    record("vocabulary_cost", rows, title=title, seeds=[0], caveat=caveat)


if __name__ == "__main__":
    main()
